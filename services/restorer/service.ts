/** The restorer as a service: its routes, its readiness, its end. */
import type Docker from "dockerode";
import type { Service } from "../shared/http.ts";
import type { Log } from "../shared/log.ts";
import { createEngine } from "./adapters/engine.ts";
import { openJournal } from "./adapters/journal.ts";
import { createRcuSwitch } from "../shared/adapters/rcu.ts";
import { checkNode } from "./checks.ts";
import { createRestores } from "./restorer.ts";
import { addRestorerRoutes } from "./routes.ts";
import type { RestorerLimits } from "./session.ts";

export interface RestorerServiceDeps {
  docker: Docker;
  stateDir: string;
  log: Log;
  limits?: RestorerLimits;
}

const defaultLimits: RestorerLimits = { warmStartMs: 60_000, resumeMs: 60_000, cleanUpMs: 20_000 };

export function createRestorer(deps: RestorerServiceDeps): Service {
  const { docker, stateDir, log, limits = defaultLimits } = deps;
  const engine = createEngine(docker);
  const rcu = createRcuSwitch();
  const restorer = createRestores({ engine, journal: openJournal(stateDir), rcu, stateDir, log, limits });
  return {
    name: "restorer",
    register: (app) => addRestorerRoutes(app, restorer),
    checks: () => checkNode(engine, stateDir),
    stop: () => restorer.stop(),
  };
}
