/**
 * Brings an image of the outer engine into a node's own. Saving one takes the engine a second or two, so the tar is kept on disk
 * under the image's id.
 */
import { createReadStream, createWriteStream, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";

import type Docker from "dockerode";

import type { LabContext } from "./context.ts";
import { followProgress } from "./image-progress.ts";
import { projectRoot } from "./images.ts";
import type { LabNode } from "./node.ts";

const cacheDirectory = join(projectRoot, ".lab", "images");

/**
 * Loads an image into a node.
 * @param image its name in the outer engine
 * @param name the name it gets in the node
 */
export async function loadImage(
  node: LabNode,
  image: string,
  name: string = image,
  context: Partial<LabContext> = {},
): Promise<void> {
  const tar = await ensureTar(node.outer, image);
  const answer = await node.docker.loadImage(createReadStream(tar, { highWaterMark: 1 << 20 }), { quiet: true });
  await followProgress(node.docker, answer, { log: () => undefined, ...context });
  if (name === image) return;
  const colon = name.lastIndexOf(":");
  await node.docker.getImage(image).tag({ repo: name.slice(0, colon), tag: name.slice(colon + 1) });
  await node.docker.getImage(image).remove({ noprune: true });
}

async function ensureTar(outer: Docker, image: string): Promise<string> {
  const { Id } = await outer.getImage(image).inspect();
  // The tar holds the name too: the same image under two names makes two of them.
  const [repository = image] = image.split(":");
  const stem = `${encodeURIComponent(repository)}-`;
  const name = `${stem}${Id.slice(7, 19)}-${encodeURIComponent(image.slice(repository.length + 1))}.tar`;
  const path = join(cacheDirectory, name);
  if (existsSync(path)) return path;
  mkdirSync(cacheDirectory, { recursive: true });
  const partial = `${path}.${String(process.pid)}`;
  try {
    await pipeline(await outer.getImage(image).get(), createWriteStream(partial, { highWaterMark: 1 << 20 }));
    renameSync(partial, path);
  } finally {
    rmSync(partial, { force: true });
  }
  for (const other of readdirSync(cacheDirectory)) {
    if (other.startsWith(stem) && other.endsWith(".tar") && other !== name)
      rmSync(join(cacheDirectory, other), { force: true });
  }
  return path;
}
