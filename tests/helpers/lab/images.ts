/** The images that the lab runs on: the node, with the lab's addition where the machine asks for it, and something to migrate. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";

import type Docker from "dockerode";

import { ensureBaseImage } from "./base-image.ts";
import { machineHasSysResource } from "./capabilities.ts";
import { all, type LabContext } from "./context.ts";
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
  // Most of a first build is waiting for packages to come: do it side by side.
  const [platform, workload] = await all([
    ensurePlatform(context, docker, baseId),
    ensureImage(context, docker, {
      name: "dmigrate-workload",
      root: import.meta.dirname,
      dockerfile: "workload.Dockerfile",
      paths: [],
      stamp: baseId,
    }),
  ]);
  const node = await ensureImage(context, docker, {
    name: "dmigrate-node",
    root: projectRoot,
    dockerfile: writeLastStage(platform),
    paths: ["services"],
  });
  return { node, workload };
}

/**
 * The stage `platform` of deploy/Dockerfile, as an image. Its last stage is then built upon that, so a change in services/ sends
 * the engine services/ alone, and not the packages with it. In between comes the lab's own addition, where it needs one.
 */
async function ensurePlatform(context: LabContext, docker: Docker, baseId: string): Promise<string> {
  const packages = readProductionPackages(projectRoot);
  const deployed = ["daemon.json", "dmigrate", "dmigrate-runc", "node-entrypoint.sh"].map((name) => `deploy/${name}`);
  const platform = ensureImage(context, docker, {
    name: "dmigrate-platform",
    root: projectRoot,
    dockerfile: "deploy/Dockerfile",
    target: "platform",
    paths: ["package.json", "LICENSE", ...deployed],
    stampedPaths: packages.paths,
    stamp: baseId + packages.stamp,
  });
  if (machineHasSysResource()) return platform;
  const shim = ensureImage(context, docker, {
    name: "dmigrate-rlimit-shim",
    root: import.meta.dirname,
    dockerfile: "rlimit-shim.Dockerfile",
    paths: ["rlimit-shim.c"],
    stamp: baseId,
  });
  const [PLATFORM, SHIM] = await all([platform, shim]);
  return ensureImage(context, docker, {
    name: "dmigrate-lab-platform",
    root: import.meta.dirname,
    dockerfile: "lab-platform.Dockerfile",
    paths: ["criu-with-shim"],
    buildArgs: { PLATFORM, SHIM },
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
    // A package brings the ones nested in it; but of Node the binary will do, without its C headers.
    paths: production
      .map(([path]) => path)
      .filter((path) => path.lastIndexOf("node_modules/") === 0)
      .flatMap((path) => (path === "node_modules/node" ? [`${path}/package.json`, `${path}/bin`] : [path])),
    stamp: JSON.stringify(production.map(([path, { version, integrity }]) => [path, version, integrity])),
  };
}
