/**
 * The dumper (source node): profiles containers, freezes them, has CRIU dump everything but their memory, and in the
 * end lets the source run on (abort) or ends it (commit).
 */
import type Docker from "dockerode";
import type { Service } from "../shared/http.ts";
import type { Log } from "../shared/log.ts";
import { createEngine } from "./adapters/engine.ts";
import { checkNode } from "./check-node.ts";
import { openCheckpoints } from "./checkpoints.ts";
import { profileContainer } from "./profile-container.ts";
import { registerRoutes } from "./routes.ts";

export interface DumperDeps {
  docker: Docker;
  stateDir: string;
  log: Log;
}

export function createDumper({ docker, stateDir, log }: DumperDeps): Service {
  const checkpoints = openCheckpoints({ docker, stateDir, log });
  const engine = createEngine(docker);
  return {
    name: "dumper",
    register: (app) =>
      registerRoutes(app, { profile: (ref, moveBinds) => profileContainer(engine, ref, moveBinds), checkpoints }),
    checks: () => checkNode(docker),
    stop: () => checkpoints.stop(),
  };
}
