/** The images that the lab runs on: the node, with the lab's addition where the machine asks for it, and something to migrate. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

import type Docker from "dockerode";

import { ensureBaseImage } from "./base-image.ts";
import { machineHasSysResource } from "./capabilities.ts";
import type { LabContext } from "./context.ts";
import { ensureImage } from "./image-build.ts";

/** The root of the checkout. */
export const projectRoot = resolve(import.meta.dirname, "../../..");

/** Images in the outer engine, by full name. */
export interface LabImages {
  readonly node: string;
  readonly workload: string;
}

/** Makes sure that all images of the lab are there and up to date. */
export async function ensureImages(context: LabContext, docker: Docker, dockerHost: string): Promise<LabImages> {
  const baseId = await ensureBaseImage(context, docker, dockerHost);
  const node = await ensureNodeImage(context, docker, baseId);
  const workload = await ensureImage(context, docker, {
    name: "dmigrate-workload",
    root: import.meta.dirname,
    dockerfile: "workload.Dockerfile",
    paths: [],
    stamp: baseId,
  });
  return { node, workload };
}

/**
 * deploy/Dockerfile in two builds: first its stage `platform`, then its last stage upon that image. So a change in services/ sends
 * the engine services/ alone, and not the packages with it. In between the lab puts its own addition, where it needs one.
 */
async function ensureNodeImage(context: LabContext, docker: Docker, baseId: string): Promise<string> {
  const packages = readProductionPackages(projectRoot);
  const deployed = ["daemon.json", "dmigrate", "dmigrate-runc", "node-entrypoint.sh"].map((name) => `deploy/${name}`);
  const platform = await ensureImage(context, docker, {
    name: "dmigrate-platform",
    root: projectRoot,
    dockerfile: "deploy/Dockerfile",
    target: "platform",
    paths: ["package.json", "LICENSE", ...deployed],
    stampedPaths: packages.paths,
    stamp: baseId + packages.stamp,
  });
  const upon = machineHasSysResource() ? platform : await ensureLabPlatform(context, docker, platform);
  return ensureImage(context, docker, {
    name: "dmigrate-node",
    root: projectRoot,
    dockerfile: writeLastStage(upon),
    paths: ["services"],
  });
}

function ensureLabPlatform(context: LabContext, docker: Docker, platform: string): Promise<string> {
  return ensureImage(context, docker, {
    name: "dmigrate-lab-platform",
    root: import.meta.dirname,
    dockerfile: "lab-platform.Dockerfile",
    paths: ["rlimit-shim.c", "criu-with-shim"],
    buildArgs: { PLATFORM: platform },
  });
}

/** Writes the last stage of deploy/Dockerfile as a Dockerfile of its own, upon an image; returns its path in the project. */
function writeLastStage(image: string): string {
  const dockerfile = readFileSync(join(projectRoot, "deploy/Dockerfile"), "utf8");
  const [, lastStage] = dockerfile.split(/^FROM platform$/m);
  if (lastStage === undefined) throw new Error("deploy/Dockerfile has no stage that begins with FROM platform");
  const path = `.lab/Dockerfile.${image.replace(":", "-")}`;
  mkdirSync(join(projectRoot, ".lab"), { recursive: true });
  writeFileSync(join(projectRoot, path), `FROM ${image}${lastStage}`);
  return path;
}

interface LockedPackage {
  readonly version?: string;
  readonly integrity?: string;
  readonly dev?: boolean;
}

/** What `npm ci --omit=dev` would leave of node_modules, read from npm's own record of what is installed. */
function readProductionPackages(root: string): { paths: string[]; stamp: string } {
  const lock = readFileSync(join(root, "node_modules/.package-lock.json"), "utf8");
  const { packages } = JSON.parse(lock) as { packages: Record<string, LockedPackage> };
  const production = Object.entries(packages)
    .filter(([path, { dev }]) => dev !== true && existsSync(join(root, path)))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    // A package brings the ones nested in it.
    paths: production.map(([path]) => path).filter((path) => path.lastIndexOf("node_modules/") === 0),
    stamp: JSON.stringify(production.map(([path, { version, integrity }]) => [path, version, integrity])),
  };
}
