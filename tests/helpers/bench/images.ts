/** The benchmark's images: the lab's node with the peers in it, and what is migrated. Built once, upon the lab's own. */
import { join } from "node:path";

import type Docker from "dockerode";

import { baseImage } from "../lab/base-image.ts";
import type { LabContext } from "../lab/context.ts";
import { ensureImage } from "../lab/image-build.ts";
import { imageId } from "../lab/image-progress.ts";

const root = join(import.meta.dirname, "images");

/** Builds the node's image upon the lab's; returns its name in the outer engine. */
export function ensureBenchNode(context: LabContext, docker: Docker, node: string): Promise<string> {
  return ensureImage(context, docker, {
    name: "dmigrate-bench-node",
    root,
    dockerfile: "node.Dockerfile",
    paths: [
      "bench-runc",
      "containers.conf",
      "daemon.json",
      "limits.ts",
      "node-shell.ts",
      "policy.json",
      "rsyncd.conf",
      "storage.conf",
      "watch-memory.ts",
    ],
    buildArgs: { NODE: node },
  });
}

/** Builds the image of all workloads upon the base image, which the lab's have brought; returns its name in the outer engine. */
export async function ensureBenchWorkload(context: LabContext, docker: Docker): Promise<string> {
  const stamp = await imageId(docker, baseImage);
  if (stamp === undefined) throw new Error(`${baseImage} is missing`);
  return ensureImage(context, docker, {
    name: "dmigrate-bench-workload",
    root,
    dockerfile: "workload.Dockerfile",
    paths: ["page-toucher.c", "process-server.c"],
    stamp,
  });
}
