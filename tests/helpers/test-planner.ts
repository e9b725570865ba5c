/** A planner in this process, with two fake nodes, its store in a directory of its own, and hours made short. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Registry } from "prom-client";
import { isTerminal } from "../../services/planner/core/phase.ts";
import { createPlanner, type Planner } from "../../services/planner/service.ts";
import type { Timing } from "../../services/planner/timing.ts";
import { migrationSchema, type Migration, type MigrationPhase } from "../../services/shared/contracts/planner.ts";
import { createApp, type App } from "../../services/shared/http.ts";
import { createLog } from "../../services/shared/log.ts";
import { startFakeNode, type FakeNode } from "./fake-node.ts";
import { createFakeWorld, type FakeWorld } from "./fake-world.ts";

export const quickTiming: Timing = {
  callMs: 5_000,
  profileMs: 5_000,
  createMs: 5_000,
  freezeMs: 5_000,
  moveMs: 5_000,
  leastBytesPerSecond: 1e12,
  resumeMs: 5_000,
  pullHeadStartMs: 50,
  momentMs: 0,
  pollMs: 5,
  progressMs: 40,
  retryMs: () => 5,
  settleMs: 10,
  stopMs: 2_000,
};

/** For calls that are never answered. */
export const impatientTiming: Partial<Timing> = {
  callMs: 600,
  createMs: 600,
  freezeMs: 600,
  moveMs: 600,
  resumeMs: 600,
};

export interface TestPlanner extends AsyncDisposable {
  readonly world: FakeWorld;
  readonly a: FakeNode;
  readonly b: FakeNode;
  readonly stateDir: string;
  readonly app: App;
  request(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Response>;
  /** Starts a migration of `web` from a to b; throws unless it is accepted. */
  start(overrides?: object): Promise<Migration>;
  get(id: string): Promise<Migration>;
  /** Waits until the migration is in one of these phases; in a terminal one unless told. */
  until(id: string, ...phases: MigrationPhase[]): Promise<Migration>;
  /** The planner is gone between two of its steps, without a chance to tidy up. */
  crash(): Promise<void>;
  /** A new planner on the same store. */
  restart(): void;
}

export async function createTestPlanner(
  timing: Partial<Timing> = {},
  maxPerNode = 4,
  pullFrom: readonly string[] = [],
): Promise<TestPlanner> {
  const world = createFakeWorld();
  const [a, b] = await Promise.all([startFakeNode(world, world.a), startFakeNode(world, world.b)]);
  const stateDir = mkdtempSync(join(tmpdir(), "dmigrate-planner-"));
  const log = createLog("planner", "silent");
  let planner: Planner;
  let app: App;
  let running = false;
  const begin = (stopMs?: number): void => {
    const metrics = new Registry();
    const bounds = { ...quickTiming, ...timing, ...(stopMs !== undefined && { stopMs }) };
    planner = createPlanner({ stateDir, log, metrics, maxPerNode, timing: bounds, pullFrom });
    app = createApp({ title: "test", services: [planner], token: undefined, log, metrics });
    running = true;
  };
  // A crash is a stop that waits for nothing.
  begin(0);
  const request: TestPlanner["request"] = async (method, path, body, headers = {}) =>
    app.request(path, {
      method,
      headers: { ...headers, ...(body !== undefined && { "content-type": "application/json" }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
  for (const [name, { url, token }] of Object.entries({ a, b })) {
    await request("PUT", `/nodes/${name}`, { agent: { url, token } });
  }
  world.calls.length = 0;
  const get = async (id: string): Promise<Migration> =>
    migrationSchema.parse(await (await request("GET", `/migrations/${id}`)).json());
  return {
    world,
    a,
    b,
    stateDir,
    get app() {
      return app;
    },
    request,
    start: async (overrides = {}) => {
      const response = await request("POST", "/migrations", { container: "web", from: "a", to: "b", ...overrides });
      if (response.status !== 202) throw new Error(`not accepted: ${await response.text()}`);
      return migrationSchema.parse(await response.json());
    },
    get,
    until: async (id, ...phases) => {
      const deadline = performance.now() + 10_000;
      for (;;) {
        const migration = await get(id);
        if (phases.length === 0 ? isTerminal(migration.phase) : phases.includes(migration.phase)) return migration;
        if (performance.now() > deadline) throw new Error(`still ${migration.phase}: ${JSON.stringify(migration)}`);
        // Each look costs more than it looks: a request, and schemas.
        await delay(10);
      }
    },
    crash: async () => {
      running = false;
      await planner.stop();
    },
    restart: () => begin(),
    [Symbol.asyncDispose]: async () => {
      if (running) await planner.stop();
      await Promise.all([a[Symbol.asyncDispose](), b[Symbol.asyncDispose]()]);
      rmSync(stateDir, { recursive: true, force: true });
    },
  };
}
