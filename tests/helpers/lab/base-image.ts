/**
 * `debian:trixie` in the outer engine: what is there, else from the registry, else made here with mmdebstrap from the mirror that
 * this machine's own apt uses. The mirror's name goes into the image, as in any Debian image, and nowhere else.
 */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { pipeline } from "node:stream/promises";

import type Docker from "dockerode";

import { step, type LabContext } from "./context.ts";
import { dockerAt } from "./docker-client.ts";
import { followProgress, imageId } from "./image-progress.ts";
import { ensureProgram } from "./packages.ts";
import { lastLines, systemPath } from "./processes.ts";

export const baseImage = "debian:trixie";
const registryTimeoutMs = 10_000;
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** Makes sure that the engine has the base image; returns its id. */
export async function ensureBaseImage(context: LabContext, docker: Docker, dockerHost: string): Promise<string> {
  const present = await imageId(docker, baseImage);
  if (present !== undefined) return present;
  if (await registryHas(dockerHost, baseImage)) {
    await step(context, `pulled ${baseImage}`, async () =>
      followProgress(docker, await docker.pull(baseImage), context),
    );
  } else {
    context.log(`no registry in reach: making ${baseImage} with mmdebstrap`);
    await ensureProgram(context, "mmdebstrap", ["mmdebstrap", "debian-archive-keyring"]);
    await step(context, `made ${baseImage}`, () => makeBaseImage(context, docker));
  }
  const made = await imageId(docker, baseImage);
  if (made === undefined) throw new Error(`${baseImage} is still missing`);
  return made;
}

/** Asks the registry for the image's manifest only, which is quick: a pull can take its time once we know it will work. */
async function registryHas(dockerHost: string, image: string): Promise<boolean> {
  try {
    await dockerAt(dockerHost, { timeoutMs: registryTimeoutMs }).getImage(image).distribution();
    return true;
  } catch {
    return false;
  }
}

async function makeBaseImage(context: LabContext, docker: Docker): Promise<void> {
  const mirror = readMirror();
  const mmdebstrap = spawn(
    "mmdebstrap",
    [
      "--variant=minbase",
      // Ubuntu's apt does not trust Debian's keys by itself.
      ...(existsSync(keyring) ? [`--keyring=${keyring}`] : []),
      "trixie",
      "-",
      ...(mirror === undefined ? [] : [mirror]),
    ],
    { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, PATH: systemPath }, signal: context.signal },
  );
  let errors = "";
  mmdebstrap.stderr.setEncoding("utf8").on("data", (chunk: string) => (errors = (errors + chunk).slice(-8192)));
  const exited = new Promise<number | null>((resolve, reject) =>
    mmdebstrap.once("error", reject).once("close", resolve),
  );
  const tar = new PassThrough();
  const imported = docker
    .importImage(tar, { repo: "debian", tag: "trixie", changes: 'CMD ["bash"]' })
    .then((answer) => followProgress(docker, answer, context));
  // Both ends run to their end: importing half a tar must not pass for an image.
  const [copied, stored, code] = await Promise.allSettled([pipeline(mmdebstrap.stdout, tar), imported, exited]);
  if (code.status === "rejected") throw code.reason;
  if (code.value !== 0) {
    await docker
      .getImage(baseImage)
      .remove()
      .catch(() => undefined);
    throw new Error(`mmdebstrap failed (exit ${String(code.value)}):\n${lastLines(errors)}`);
  }
  if (copied.status === "rejected") throw copied.reason;
  if (stored.status === "rejected") throw stored.reason;
}

/** Where this machine's apt gets Debian from; undefined on other distributions, where mmdebstrap's default has to do. */
function readMirror(): string | undefined {
  const release = readFileSync("/etc/os-release", "utf8");
  if (!/^ID=["']?debian["']?$/m.test(release)) return undefined;
  const codename = /^VERSION_CODENAME=["']?(\w+)/m.exec(release)?.[1];
  const directory = "/etc/apt/sources.list.d";
  const names = existsSync(directory) ? readdirSync(directory).sort() : [];
  const files = ["/etc/apt/sources.list", ...names.map((name) => join(directory, name))].filter((path) =>
    existsSync(path),
  );
  const entries = files.flatMap((path) => {
    const text = readFileSync(path, "utf8");
    return path.endsWith(".sources") ? parseDeb822(text) : parseOneLine(text);
  });
  return entries.find(({ suites }) => codename !== undefined && suites.includes(codename))?.uri;
}

/** One place that apt reads from. */
export interface AptSource {
  readonly uri: string;
  readonly suites: readonly string[];
}

/** Reads a sources file in the deb822 format: stanzas of `Key: values`. */
export function parseDeb822(text: string): AptSource[] {
  return text.split(/\n\s*\n/).flatMap((stanza) => {
    const field = (name: string): string[] =>
      new RegExp(`^${name}:[ \\t]*(.*)$`, "im").exec(stanza)?.[1]?.trim().split(/\s+/) ?? [];
    const off = field("Enabled")[0] === "no" || !field("Types").includes("deb");
    return off ? [] : field("URIs").map((uri) => ({ uri, suites: field("Suites") }));
  });
}

/** Reads a sources file in the one-line format: `deb [options] URI SUITE components`. */
export function parseOneLine(text: string): AptSource[] {
  return [...text.matchAll(/^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)/gm)].flatMap(([, uri, suite]) =>
    uri && suite ? [{ uri, suites: [suite] }] : [],
  );
}
