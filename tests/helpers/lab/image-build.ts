/**
 * Builds images in the outer engine, only when something changed. What an image is made of is hashed; the hash is its tag, so an
 * image that is there is right, and two checkouts sharing an engine do not get in each other's way.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";

import type Docker from "dockerode";

import { step, type LabContext } from "./context.ts";
import { followProgress, imageId } from "./image-progress.ts";
import { lastLines } from "./processes.ts";

/** What to build. */
export interface ImageSource {
  /** The image's name, without a tag. */
  readonly name: string;
  /** The directory that the paths are relative to. */
  readonly root: string;
  readonly dockerfile: string;
  /** Files and directories that go into the build context, besides the Dockerfile. */
  readonly paths: readonly string[];
  /** Of these only `stamp` is hashed, not the content: for trees that are large and known by other means. */
  readonly stampedPaths?: readonly string[];
  /** Anything else that the image depends on. */
  readonly stamp?: string;
  readonly buildArgs?: Readonly<Record<string, string>>;
  /** The stage to build, where it is not the last. */
  readonly target?: string;
}

/** Marks the images that the lab built, with the checkout they were built from. */
const checkoutLabel = "dmigrate.lab.checkout";
const proxyVariables = ["http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"];

/** Builds the image unless the engine has it; returns its full name. */
export async function ensureImage(context: LabContext, docker: Docker, source: ImageSource): Promise<string> {
  const image = `${source.name}:${hashSource(source)}`;
  if ((await imageId(docker, image)) === undefined) {
    await step(context, `built ${source.name}`, () => build(context, docker, source, image));
    await removeOlder(docker, source, image);
  }
  return image;
}

async function build(context: LabContext, docker: Docker, source: ImageSource, image: string): Promise<void> {
  const paths = [source.dockerfile, ...source.paths, ...(source.stampedPaths ?? [])];
  const owner = ["--owner=0", "--group=0", "--numeric-owner"];
  const options = ["--create", ...owner, `--directory=${source.root}`, "--null", "--files-from=-"];
  const tar = spawn("tar", options, { signal: context.signal });
  let errors = "";
  tar.stderr.setEncoding("utf8").on("data", (chunk: string) => (errors += chunk));
  const packed = new Promise<void>((resolve, reject) => {
    tar.once("error", reject).once("close", (code) => {
      if (code === 0) resolve();
      else reject(new Error(`tar failed: ${lastLines(errors)}`));
    });
  });
  tar.stdin.end(paths.join("\0"));
  const body = new PassThrough({ highWaterMark: 1 << 20 });
  const proxies = proxyVariables.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : []));
  const built = docker
    .buildImage(body, {
      t: image,
      dockerfile: source.dockerfile,
      buildargs: { ...(Object.fromEntries(proxies) as Record<string, string>), ...source.buildArgs },
      labels: { [checkoutLabel]: checkoutKey(source) },
      forcerm: true,
      ...(source.target !== undefined && { target: source.target }),
    })
    .then((output) => followProgress(docker, output, context));
  try {
    await Promise.all([packed, pipeline(tar.stdout, body), built]);
  } catch (cause) {
    // A build from half a context may have gone through.
    await docker
      .getImage(image)
      .remove()
      .catch(() => undefined);
    throw new Error(`could not build ${source.name}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    });
  }
}

/** Images that this checkout built from earlier content; one that is in use stays. */
async function removeOlder(docker: Docker, source: ImageSource, image: string): Promise<void> {
  const filters = { label: [`${checkoutLabel}=${checkoutKey(source)}`], reference: [source.name] };
  for (const { RepoTags } of await docker.listImages({ filters })) {
    for (const tag of RepoTags ?? []) {
      if (tag !== image)
        await docker
          .getImage(tag)
          .remove()
          .catch(() => undefined);
    }
  }
}

function checkoutKey({ root }: ImageSource): string {
  return createHash("sha256").update(root).digest("hex").slice(0, 12);
}

function hashSource(source: ImageSource): string {
  const hash = createHash("sha256");
  hash.update(JSON.stringify([source.dockerfile, source.stamp, source.buildArgs, source.target, source.stampedPaths]));
  for (const path of [source.dockerfile, ...source.paths]) hashTree(hash, source.root, path);
  return hash.digest("hex").slice(0, 12);
}

function hashTree(hash: ReturnType<typeof createHash>, root: string, path: string): void {
  const full = join(root, path);
  const stat = lstatSync(full);
  hash.update(`${path}\0${stat.mode.toString(8)}\0`);
  if (stat.isDirectory()) for (const name of readdirSync(full).sort()) hashTree(hash, root, join(path, name));
  else if (stat.isSymbolicLink()) hash.update(readlinkSync(full));
  else hash.update(`${stat.size}\0`).update(readFileSync(full));
}
