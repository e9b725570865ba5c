/** The pager as a service: gives CRIU on the destination the pages of the frozen source. */
import type { Service } from "../shared/http.ts";
import { connectPages } from "../shared/link/page-client.ts";
import type { Log } from "../shared/log.ts";
import { checkCriu } from "./adapters/criu.ts";
import { Pagers, type ConnectPages } from "./pagers.ts";
import { registerRoutes } from "./routes.ts";

export interface PagerServiceDeps {
  stateDir: string;
  log: Log;
  /** The program to run; `criu` on PATH unless told. */
  criu?: string;
  /** How to reach the source; our own data protocol unless told. */
  connectPages?: ConnectPages;
}

/** A drain under way may take this long to end when the service is told to stop. */
const stopDrainMs = 30_000;

export function createPager(deps: PagerServiceDeps): Service {
  const { stateDir, log, criu = "criu" } = deps;
  const pagers = new Pagers({ criu, stateDir, log, connectPages: deps.connectPages ?? connectPages });
  return {
    name: "pager",
    register: (app) => registerRoutes(app, pagers),
    checks: () => checkCriu(criu),
    stop: () => pagers.stop(stopDrainMs),
  };
}
