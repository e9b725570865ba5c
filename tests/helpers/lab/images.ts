/** The images that the lab runs on: the node, with the lab's addition where the machine asks for it, and something to migrate. */
import { existsSync, readFileSync } from "node:fs";
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
    paths: ["workload.Dockerfile"],
    stamp: baseId,
  });
  return { node, workload };
}

async function ensureNodeImage(context: LabContext, docker: Docker, baseId: string): Promise<string> {
  const packages = readProductionPackages(projectRoot);
  const node = await ensureImage(context, docker, {
    name: "dmigrate-node",
    root: projectRoot,
    dockerfile: "deploy/Dockerfile",
    paths: ["package.json", "LICENSE", "deploy", "services"].filter((path) => existsSync(join(projectRoot, path))),
    stampedPaths: packages.paths,
    stamp: baseId + packages.stamp,
  });
  if (machineHasSysResource()) return node;
  return ensureImage(context, docker, {
    name: "dmigrate-lab-node",
    root: import.meta.dirname,
    dockerfile: "lab-node.Dockerfile",
    paths: ["lab-node.Dockerfile", "rlimit-shim.c", "criu-with-shim"],
    buildArgs: { NODE_IMAGE: node },
  });
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
