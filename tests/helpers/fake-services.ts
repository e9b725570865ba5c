/** What the four services of a fake node answer, and what that changes in the fake world. */
import { setTimeout as delay } from "node:timers/promises";
import type { z } from "zod";
import { healthSchema, nodeResourcesSchema } from "../../services/shared/contracts/common.ts";
import { containerProfileSchema } from "../../services/shared/contracts/container.ts";
import {
  checkpointSchema,
  commitCheckpointSchema,
  createCheckpointSchema,
  freezeSchema,
  type Checkpoint,
  type CheckpointState,
} from "../../services/shared/contracts/dumper.ts";
import { createPagerSchema, pagerSchema, waitPagerQuery } from "../../services/shared/contracts/pager.ts";
import {
  checkRestoreSchema,
  createRestoreSchema,
  finishRestoreSchema,
  imagePresenceSchema,
  pullImageSchema,
  restoreCheckSchema,
  hasRun,
  restoredContainerSchema,
  restoreSchema,
} from "../../services/shared/contracts/restorer.ts";
import {
  createReceiveSchema,
  createTransferSchema,
  deletedTransferSchema,
  linkProbeSchema,
  openMemorySchema,
  precopySchema,
  receiveSchema,
  receiveTargetSchema,
  shipImageSchema,
  shippedSchema,
  transferSchema,
  type Transfer,
} from "../../services/shared/contracts/shipper.ts";
import type { ErrorCode, Refusal } from "../../services/shared/errors.ts";
import { destinationId, fakeProfile, type FakeNodeState, type FakeWorld } from "./fake-world.ts";

export class FakeProblem extends Error {
  readonly code: ErrorCode;
  readonly reasons: Refusal[];
  constructor(code: ErrorCode, message: string, reasons: Refusal[] = []) {
    super(message);
    this.code = code;
    this.reasons = reasons;
  }
}

interface Call {
  world: FakeWorld;
  node: FakeNodeState;
  id: string;
  body: unknown;
  query: URLSearchParams;
}

type Answer = (call: Call) => unknown;

/** Carries a call out. Throws `FakeProblem` for what the real service would refuse. */
export function answer(world: FakeWorld, node: FakeNodeState, method: string, url: URL, body: unknown): unknown {
  const id = /m-[0-9a-f]{16}/.exec(url.pathname)?.[0] ?? "";
  const name = `${method} ${url.pathname
    .replace(id || "\0", ":id")
    .replace(/^\/containers\/.+/, "/containers/:ref")
    .replace(/^\/images\/[^/]+/, "/images/:ref")}`;
  const found = answers[name];
  if (found === undefined) throw new FakeProblem("not-found", `there is no ${name}`);
  return found({ world, node, id, body, query: url.searchParams });
}

function read<T>(schema: z.ZodType<T>, body: unknown): T {
  const parsed = schema.safeParse(body);
  if (parsed.success) return parsed.data;
  throw new FakeProblem("invalid-request", parsed.error.message);
}

function need<T>(thing: T | undefined, what: string): T {
  if (thing === undefined) throw new FakeProblem("not-found", `there is no ${what}`);
  return thing;
}

function demand(condition: boolean, what: string): void {
  if (!condition) throw new FakeProblem("conflict", what);
}

const shipped = shippedSchema.parse({ files: 1, bytes: 100, ms: 1 });

const answers: Record<string, Answer> = {
  "GET /healthz": () => healthSchema.parse({ status: "ok", services: ["dumper", "shipper", "pager", "restorer"] }),
  "GET /resources": ({ node }) => nodeResourcesSchema.parse(node.resources),
  "GET /containers/:ref": ({ world, node }) => {
    if (node.name !== "a") throw new FakeProblem("not-found", "there is no such container");
    return containerProfileSchema.parse(world.profile);
  },

  "POST /checkpoints": ({ node, body }) => {
    const { migrationId, containerId } = read(createCheckpointSchema, body);
    const known = node.checkpoints.get(migrationId);
    if (known !== undefined) return known;
    demand(node.containers.get(containerId) === "running", "the container does not run");
    const checkpoint = checkpointSchema.parse({
      migrationId,
      containerId,
      state: "ready",
      frozenAt: new Date().toISOString(),
      frozenForMs: 0,
      processes: [{ pid: 1, hostPid: 4711 }],
      imagesDir: "/run/dmigrate/images",
      restartPolicy: { Name: node.restartPolicy, MaximumRetryCount: 0 },
    });
    node.checkpoints.set(migrationId, checkpoint);
    return checkpoint;
  },
  "POST /checkpoints/:id/freeze": (call) => {
    const { node, id, body } = call;
    const { thenDump } = read(freezeSchema, body);
    const { containerId } = step(call, ["ready", "frozen"], "frozen");
    node.containers.set(containerId, "frozen");
    node.restartPolicy = "no";
    node.dumpsUnasked = thenDump;
    const frozen = checkpointSchema.parse({ ...node.checkpoints.get(id), frozenForMs: 1.5 });
    node.checkpoints.set(id, frozen);
    return frozen;
  },
  "GET /checkpoints/:id": ({ node, id }) => checkpointSchema.parse(need(node.checkpoints.get(id), `checkpoint ${id}`)),
  "POST /checkpoints/:id/dump": (call) =>
    call.node.dumpsUnasked ? step(call, ["frozen", "sealed"], "sealed") : step(call, ["frozen", "dumped"], "dumped"),
  "POST /checkpoints/:id/commit": (call) => {
    const { removeContainer } = read(commitCheckpointSchema, call.body);
    const checkpoint = step(call, ["sealed", "committed"], "committed");
    call.node.containers.set(checkpoint.containerId, removeContainer ? "absent" : "stopped");
    return checkpoint;
  },
  "POST /checkpoints/:id/abort": (call) => {
    const checkpoint = step(call, ["ready", "frozen", "dumping", "dumped", "sealed", "aborted"], "aborted");
    call.node.containers.set(checkpoint.containerId, "running");
    call.node.restartPolicy = checkpoint.restartPolicy.Name;
    return checkpoint;
  },

  "POST /transfers": ({ node, body }) => {
    const { migrationId, secret } = read(createTransferSchema, body);
    node.transfers.set(migrationId, { secret, secretsUsed: 0, done: new Set() });
    return transfer(node, migrationId);
  },
  "GET /transfers/:id": ({ node, id }) => transfer(node, id),
  "POST /transfers/:id/probe": ({ world, node, id }) => {
    connected(node, id);
    if (world.linkBytesPerSecond === undefined) throw new FakeProblem("transfer-failed", "nothing came through");
    return linkProbeSchema.parse({ bytesPerSecond: world.linkBytesPerSecond, bytes: 12_000_000, ms: 100 });
  },
  "POST /transfers/:id/image": ({ world, node, id, body }) => {
    read(shipImageSchema, body);
    connected(node, id);
    world.b.hasImage = true;
    return shipped;
  },
  "POST /transfers/:id/first-pass": async ({ world, node, id }) => {
    connected(node, id);
    demand(world.b.receives.get(id)?.target === true, "the destination has no target");
    await until(() => !node.transfers.has(id) || world.b.restores.has(id));
    return done(node, id, "first-pass");
  },
  "POST /transfers/:id/next-pass": ({ node, id }) => {
    demand(need(node.transfers.get(id), `transfer ${id}`).done.has("first-pass"), "there was no first pass");
    return done(node, id, "next-pass");
  },
  "POST /transfers/:id/log": ({ world, node, id }) => {
    demand(world.b.restores.get(id)?.hasLogRoom === true, "there is no room for the log");
    return done(node, id, "log");
  },
  "POST /transfers/:id/delta": ({ node, id }) => {
    demand(!["ready", undefined].includes(node.checkpoints.get(id)?.state), "the container is not frozen");
    return done(node, id, "delta");
  },
  "POST /transfers/:id/memory": ({ node, id, body }) => {
    read(openMemorySchema, body);
    return done(node, id, "memory");
  },
  "POST /transfers/:id/precopy": ({ world, node, id }) => {
    demand(["ready", undefined].includes(node.checkpoints.get(id)?.state), "the container is frozen");
    need(world.b.pagers.get(id), `pager ${id}`).pagesAnnounced = 1000;
    done(node, id, "precopy");
    return precopySchema.parse({ pagesAnnounced: 1000 });
  },
  "POST /transfers/:id/images": async ({ node, id, query }) => {
    if (query.get("when") === "sealed")
      await until(() => !node.transfers.has(id) || node.checkpoints.get(id)?.state === "sealed");
    demand(["dumped", "sealed"].includes(node.checkpoints.get(id)?.state ?? ""), "there are no images yet");
    return done(node, id, "images");
  },
  "DELETE /transfers/:id": ({ node, id }) => {
    const sent = node.transfers.has(id) ? transfer(node, id) : undefined;
    return deletedTransferSchema.parse({ deleted: node.transfers.delete(id), sent });
  },

  "POST /receives": ({ world, node, body }) => {
    const { migrationId, secret } = read(createReceiveSchema, body);
    connect(world, migrationId, secret);
    node.receives.set(migrationId, { target: false });
    return receive(node, migrationId);
  },
  "GET /receives/:id": ({ node, id }) => receive(node, id),
  "PUT /receives/:id/target": async ({ node, id, body }) => {
    const { aheadBytes } = read(receiveTargetSchema, body);
    if (aheadBytes === 0) await until(() => !node.receives.has(id) || node.restores.has(id));
    need(node.receives.get(id), `receive ${id}`).target = true;
    return receive(node, id);
  },
  "DELETE /receives/:id": ({ node, id }) => ({ deleted: node.receives.delete(id) }),

  "POST /images/:ref/pull": async ({ node, body }) => {
    read(pullImageSchema, body);
    demand(node.registry !== "without it", "the registry does not have it");
    await until(() => node.registry === "quick");
    node.hasImage = true;
    return imagePresenceSchema.parse({ imageId: fakeProfile().spec.imageId, present: true });
  },
  "POST /restores/check": ({ node, body }) => {
    read(checkRestoreSchema, body);
    return restoreCheckSchema.parse({ imagePresent: node.hasImage, refusals: node.refusals });
  },
  "POST /restores": ({ node, body }) => {
    const { migrationId, replaces, log } = read(createRestoreSchema, body);
    demand(node.hasImage, "the image is missing");
    node.containers.set(destinationId, "stopped");
    const restore = restoreSchema.parse({ migrationId, containerId: destinationId, state: "waiting" });
    node.restores.set(migrationId, { ...restore, replaces, hasLogRoom: log !== undefined });
    return restore;
  },
  "GET /restores/:id": ({ node, id }) => restoreSchema.parse(need(node.restores.get(id), `restore ${id}`)),
  "GET /restores/:id/container": ({ node, id }) => {
    demand(["resumed", "finished"].includes(node.restores.get(id)?.state ?? ""), "it has not been resumed");
    const running = node.containers.get(destinationId) === "running";
    return restoredContainerSchema.parse({ running, stopped: false, exitCode: 137, oomKilled: true });
  },
  "POST /restores/:id/resume": ({ world, node, id }) => {
    const restore = need(node.restores.get(id), `restore ${id}`);
    if (restore.state === "resumed") return restoreSchema.parse(restore);
    demand(restore.state === "waiting", `it is ${restore.state}`);
    const arrived = world.a.transfers.get(id)?.done;
    const missing = ["first-pass", "delta", "memory", "images"].filter((part) => arrived?.has(part) !== true);
    if (missing.length > 0) world.violations.push(`resumed without ${missing.join(", ")}`);
    if (world.a.checkpoints.get(id)?.state !== "sealed")
      world.violations.push("resumed with a source that is not sealed");
    const pager = node.pagers.get(id);
    if (pager?.state !== "serving") world.violations.push("resumed without a pager");
    if (pager?.whole === true && !pager.cached) world.violations.push("resumed before all memory was there");
    node.containers.set(destinationId, "running");
    node.hasRun = true;
    restore.state = "resumed";
    return restoreSchema.parse(restore);
  },
  "POST /restores/:id/pause": ({ node, id }) => {
    const restore = need(node.restores.get(id), `restore ${id}`);
    demand(restore.state === "resumed", `it is ${restore.state}`);
    node.containers.set(destinationId, "frozen");
    return restoreSchema.parse(restore);
  },
  "POST /restores/:id/finish": ({ node, id, body }) => {
    const { restartPolicy } = read(finishRestoreSchema, body);
    const restore = need(node.restores.get(id), `restore ${id}`);
    demand(restore.state === "resumed" || restore.state === "finished", `it is ${restore.state}`);
    restore.state = "finished";
    node.restartPolicy = restartPolicy.Name;
    return restoreSchema.parse(restore);
  },
  "DELETE /restores/:id": ({ node, id, query }) => {
    const restore = node.restores.get(id);
    if (restore === undefined && query.get("containerId") === destinationId) {
      if (node.hasRun) throw new FakeProblem("conflict", "it has run", [{ code: hasRun, message: "it has run" }]);
      return { deleted: node.containers.delete(destinationId) };
    }
    demand(restore?.state !== "resumed" && restore?.state !== "finished", "the container runs here");
    if (restore !== undefined) node.containers.delete(destinationId);
    return { deleted: node.restores.delete(id) };
  },

  "POST /pagers": ({ world, node, body }) => {
    const { migrationId, secret, whole } = read(createPagerSchema, body);
    connect(world, migrationId, secret);
    const pager = pagerSchema.parse({
      migrationId,
      state: "ready",
      cached: false,
      pagesHeld: 0,
      pagesAnnounced: 0,
      pagesAwaited: 0,
      pagesTotal: 0,
      pagesFaulted: 0,
      pagesPrefetched: 0,
      zeroPages: 0,
      faults: 0,
      faultLatencyMs: { p50: 0, p99: 0, max: 0 },
      bytesReceived: 0,
    });
    node.pagers.set(migrationId, { ...pager, whole, polls: 0 });
    return pager;
  },
  "POST /pagers/:id/serve": async ({ world, node, id, query }) => {
    if (query.get("when") === "received")
      await until(() => !node.pagers.has(id) || world.a.transfers.get(id)?.done.has("images") === true);
    const pager = need(node.pagers.get(id), `pager ${id}`);
    demand(world.a.transfers.get(id)?.done.has("images") === true, "there are no images");
    Object.assign(pager, { state: "serving", pagesTotal: 1000 });
    return pagerSchema.parse(pager);
  },
  "GET /pagers/:id": async ({ node, id, query }) => {
    const pager = need(node.pagers.get(id), `pager ${id}`);
    const { until, waitMs } = read(waitPagerQuery, Object.fromEntries(query));
    if (until === undefined || pager.state !== "serving") return pagerSchema.parse(pager);
    if (until === "cached") {
      await delay(waitMs);
      pager.cached = pager.whole;
      return pagerSchema.parse(pager);
    }
    if (++pager.polls > node.drainPolls) {
      Object.assign(pager, { state: "drained", pagesFaulted: 100, pagesPrefetched: 900 });
    } else {
      await delay(waitMs);
      pager.pagesPrefetched += 10;
    }
    return pagerSchema.parse(pager);
  },
  "DELETE /pagers/:id": ({ node, id, query }) => {
    const serving = node.pagers.get(id)?.state === "serving";
    demand(!serving || query.get("force") === "true", "processes here may still need pages");
    return { deleted: node.pagers.delete(id) };
  },
};

/** A fake node has no clients that go away, so a wait ends with what is waited for, or with the test. */
async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!condition() && performance.now() < deadline) await delay(1);
}

/** Repeating the step that led to a state answers as it did the first time. */
function step({ node, id }: Call, from: readonly CheckpointState[], to: CheckpointState): Checkpoint {
  const checkpoint = need(node.checkpoints.get(id), `checkpoint ${id}`);
  demand(from.includes(checkpoint.state), `checkpoint ${id} is ${checkpoint.state}`);
  const next = checkpointSchema.parse({ ...checkpoint, state: to });
  node.checkpoints.set(id, next);
  return next;
}

function transfer(node: FakeNodeState, id: string): Partial<Transfer> {
  const { secretsUsed, done: parts } = need(node.transfers.get(id), `transfer ${id}`);
  return transferSchema.parse({
    migrationId: id,
    dataPort: 7401,
    connected: secretsUsed > 0,
    bytesSent: parts.size * 1000,
    pagesSent: 1000,
    zeroPages: 40,
    equalPages: 20,
    filesSent: parts.size,
  });
}

const receive = (node: FakeNodeState, id: string): unknown => {
  need(node.receives.get(id), `receive ${id}`);
  return receiveSchema.parse({ migrationId: id, connected: true, bytesReceived: 0, filesReceived: 0 });
};

function connect(world: FakeWorld, id: string, secret: string): void {
  const sender = world.a.transfers.get(id);
  if (sender?.secret !== secret)
    throw new FakeProblem("unavailable", "the source does not know this migration and secret");
  sender.secretsUsed++;
}

function connected(node: FakeNodeState, id: string): void {
  demand(need(node.transfers.get(id), `transfer ${id}`).secretsUsed > 0, "nobody has connected");
}

function done(node: FakeNodeState, id: string, part: string): unknown {
  need(node.transfers.get(id), `transfer ${id}`).done.add(part);
  return shipped;
}
