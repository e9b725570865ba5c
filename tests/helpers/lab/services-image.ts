/** The image of services whose memory is tested: built upon the benchmark's workloads, and loaded into both nodes. */
import { join } from "node:path";

import type Docker from "dockerode";

import { ensureBenchWorkload } from "../bench/images.ts";
import { logToStderr } from "./context.ts";
import { ensureImage } from "./image-build.ts";
import { loadImage } from "./load-image.ts";
import type { LabNode } from "./node.ts";

/** Its name in the nodes. */
export const servicesImage = "dmigrate-services:latest";

/** Builds the image, where it is not there yet, and loads it into the nodes; returns its name in the outer engine. */
export async function loadServices(outer: Docker, nodes: readonly LabNode[]): Promise<string> {
  const context = { log: logToStderr };
  const workload = await ensureBenchWorkload(context, outer);
  const image = await ensureImage(context, outer, {
    name: "dmigrate-services",
    root: join(import.meta.dirname, "services-image"),
    dockerfile: "Dockerfile",
    paths: ["memory-torture.c"],
    buildArgs: { WORKLOAD: workload },
  });
  for (const node of nodes) await loadImage(node, image, servicesImage, context);
  return image;
}
