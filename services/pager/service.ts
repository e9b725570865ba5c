/** The pager as a service: gives the restored processes the pages of the frozen source. */
import type { Service } from "../shared/http.ts";
import { connectPages } from "../shared/link/page-client.ts";
import type { Log } from "../shared/log.ts";
import { checkCriu } from "./adapters/criu.ts";
import { Pagers, type ConnectPages, type PageServerKind } from "./pagers.ts";
import { registerRoutes } from "./routes.ts";

export interface PagerServiceDeps {
  stateDir: string;
  log: Log;
  /** The program to run; `criu` on PATH unless told. */
  criu?: string;
  serveWith: PageServerKind;
  /** How to reach the source, for CRIU's page server; our own data protocol unless told. */
  connectPages?: ConnectPages;
}

/** How long a link that is lost while pages are missing may stay away. */
const reconnectMs = 10 * 60_000;
/** A drain under way may take this long to end when the service is told to stop. */
const stopDrainMs = 30_000;

export function createPager(deps: PagerServiceDeps): Service {
  const { stateDir, log, serveWith, criu = "criu" } = deps;
  const connect = deps.connectPages ?? connectPages;
  const pagers = new Pagers({ criu, stateDir, log, serveWith, reconnectMs, connectPages: connect });
  return {
    name: "pager",
    register: (app) => registerRoutes(app, pagers),
    checks: () => checkCriu(criu),
    stop: () => pagers.stop(stopDrainMs),
  };
}
