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
  /** How long a link that is lost while pages are missing may stay away. */
  reconnectSeconds: number;
  /** How to reach the source, for CRIU's page server; our own data protocol unless told. */
  connectPages?: ConnectPages;
}

export function createPager(deps: PagerServiceDeps): Service {
  const { stateDir, log, serveWith, reconnectSeconds, criu = "criu" } = deps;
  const connect = deps.connectPages ?? connectPages;
  const reconnectMs = reconnectSeconds * 1_000;
  const pagers = new Pagers({ criu, stateDir, log, serveWith, reconnectMs, connectPages: connect });
  return {
    name: "pager",
    register: (app) => registerRoutes(app, pagers),
    checks: () => checkCriu(criu),
    stop: () => pagers.stop(),
  };
}
