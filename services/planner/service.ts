/** The planner as a service: its store, its routes, its readiness, its end. */
import type { Registry } from "prom-client";
import { messageOf } from "../shared/errors.ts";
import type { LinkSecurity } from "../shared/contracts/shipper.ts";
import type { Check } from "../shared/contracts/common.ts";
import type { Service } from "../shared/http.ts";
import type { Log } from "../shared/log.ts";
import { createNodePool } from "./adapters/node-clients.ts";
import { openStore, type Store } from "./adapters/store.ts";
import { createMeasurements } from "./measurements.ts";
import { createMigrations } from "./migrations.ts";
import { createNodes } from "./nodes.ts";
import { addMigrationRoutes } from "./routes-migrations.ts";
import { addNodeRoutes } from "./routes-nodes.ts";
import { defaultTiming, systemClock, type Timing } from "./timing.ts";
import { createWatch } from "./watch.ts";

export interface PlannerDeps {
  stateDir: string;
  log: Log;
  metrics: Registry;
  /** Migrations that a node may take part in at once. */
  maxPerNode: number;
  /** How files go between the nodes: TLS unless told. */
  linkSecurity?: LinkSecurity;
  /** Registries that destinations may pull a missing image from: none unless told. */
  pullFrom?: readonly string[] | undefined;
  timing?: Timing;
}

export interface Planner extends Service {
  /** Ends event streams, which would otherwise keep the server from closing. */
  endStreams(): void;
}

/** Opens the store and takes up unfinished migrations. Throws `unavailable` when the store cannot be used. */
export function createPlanner(deps: PlannerDeps): Planner {
  const { stateDir, log, metrics, maxPerNode, linkSecurity = "tls", pullFrom = [], timing = defaultTiming } = deps;
  const store = openStore(stateDir);
  const pool = createNodePool(store.nodes);
  const watch = createWatch();
  const measurements = createMeasurements(metrics, () => migrations.countActive());
  const migrations = createMigrations({
    store,
    pool,
    watch,
    clock: systemClock,
    timing,
    log,
    measurements,
    maxPerNode,
    linkSecurity,
    pullFrom,
  });
  const nodes = createNodes({
    ...{ table: store.nodes, links: store.links, pool, reachMs: 2_000 },
    using: (node) => migrations.using(node),
  });
  const streamsEnded = new AbortController();
  migrations.recoverAll();
  return {
    name: "planner",
    register: (app) => {
      addNodeRoutes(app, nodes);
      addMigrationRoutes(app, migrations, { table: store.migrations, watch, stopped: streamsEnded.signal });
    },
    checks: () => Promise.resolve([checkStore(store, stateDir)]),
    endStreams: () => streamsEnded.abort(),
    stop: async () => {
      streamsEnded.abort();
      await migrations.stop();
      pool.close();
      store.close();
    },
  };
}

/** Nodes that do not answer are no matter of the planner's own readiness. */
function checkStore(store: Store, stateDir: string): Check {
  const name = "planner store";
  try {
    store.probe();
    return { name, ok: true, detail: `${stateDir} is writable` };
  } catch (error) {
    return { name, ok: false, detail: messageOf(error), fix: `make room in ${stateDir} and make it writable` };
  }
}
