/** How a lab test takes hold of the lab that global-setup.ts started in another process. */
import type Docker from "dockerode";
import { inject } from "vitest";

import { dockerAt } from "./docker-client.ts";
import type { LabFacts } from "./lab.ts";
import { loadImage } from "./load-image.ts";
import { connectNode, type LabNode } from "./node.ts";
import { restartPlanner, type PlannerFacts } from "./planner-process.ts";
import { workloadImage } from "./workload.ts";

declare module "vitest" {
  interface ProvidedContext {
    lab: LabFacts;
    /** Where the receiver of traces answers GET /spans. */
    otlpPort: number;
  }
}

/** The running lab, as a test sees it. */
export interface ConnectedLab {
  readonly nodes: { readonly a: LabNode; readonly b: LabNode };
  readonly planner: PlannerFacts;
  /** The engine that the nodes are containers of. */
  readonly outer: Docker;
  /** Kills the planner and waits until it is up again, with the same address and state. */
  restartPlanner(): Promise<void>;
  /** Loads the workload image into a node; the lab's start does it for node a. */
  loadWorkload(node: LabNode): Promise<void>;
}

/** Takes hold of the lab that serves all lab tests. Leave it as you found it. */
export function connectLab(facts: LabFacts = inject("lab")): ConnectedLab {
  const outer = dockerAt(facts.dockerHost);
  return {
    nodes: { a: connectNode(facts.nodes.a, outer), b: connectNode(facts.nodes.b, outer) },
    planner: facts.planner,
    outer,
    restartPlanner: () => restartPlanner(facts.planner),
    loadWorkload: (node) => loadImage(node, facts.workload, workloadImage),
  };
}
