/**
 * A page daemon that waits for its migration rehearses it: it serves memory of its own from a source of its own, by the
 * very code that serves a container. V8 runs code that it has not seen before many times slower, and compiles on the
 * processors that a migration needs.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { closeBell, makeBell, ring } from "../../shared/adapters/bell.ts";
import { DmigrateError } from "../../shared/errors.ts";
import type { RestoreEnd, RestoreMessage } from "../adapters/restore-socket.ts";
import { mapMemory, openUserfaultfd, touchPage, unmapMemory, watchMemory } from "../adapters/watched-memory.ts";
import type { BulkLanes } from "./bulk-lanes.ts";
import { PageDaemon } from "./daemon.ts";
import type { StartDaemon } from "./messages.ts";

/** Each is a whole migration of some 80 ms, and the daemon may be wanted after any. With 12 the downtime was 40 ms longer. */
const rounds = 40;
const pages = 4096;
const pid = 1;
const roundTimeoutMs = 10_000;
/** Coprime to the number of pages: touched in this step, pages come in no order. */
const touchStep = 1021;

const source = new URL("./rehearsal-source.ts", import.meta.url);

/**
 * Resolves when it is over, or soon after the signal was aborted; `bulk` is then as it was. Rejects when something failed:
 * then nobody knows what `bulk` does, and a thread may wait for a page for ever.
 */
export async function rehearse(bulk: BulkLanes, signal: AbortSignal): Promise<void> {
  const secret = randomBytes(32).toString("hex");
  const worker = new Worker(source, { workerData: secret });
  const ended = new Promise((resolve) => worker.once("exit", resolve));
  // What it fails of shows in the rounds.
  worker.on("error", () => undefined);
  try {
    const [port] = (await once(worker, "message", { signal: AbortSignal.timeout(roundTimeoutMs) })) as [number];
    const start: StartDaemon = {
      ...{ migrationId: "rehearsal", secret, source: { host: "127.0.0.1", port }, workDir: "." },
      ...{ readers: 1, windowBytes: 8 << 20, earlyBytes: 0, whole: false, reconnectMs: 0 },
    };
    for (let round = 0; round < rounds && !signal.aborted; round++) await inTime(playRound(start, bulk, signal));
  } finally {
    // A thread that is ended from outside may be within a system call, and the process would end with it.
    worker.postMessage("end");
  }
  await ended;
}

async function inTime(round: Promise<void>): Promise<void> {
  const late = Promise.withResolvers<never>();
  const error = new DmigrateError("timeout", `a round took ${roundTimeoutMs} ms`);
  const timer = setTimeout(() => late.reject(error), roundTimeoutMs);
  try {
    await Promise.race([round, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

async function playRound(start: StartDaemon, bulk: BulkLanes, signal: AbortSignal): Promise<void> {
  const page = mapMemory(pages);
  const fd = openUserfaultfd();
  watchMemory(fd, page, pages);
  const restore = new RehearsedRestore(fd);
  const drained = Promise.withResolvers<undefined>();
  // It may fail while the connections are made.
  drained.promise.catch(() => undefined);
  const daemon = new PageDaemon({
    ...{ start, bulk, restore },
    tell: (message) => {
      if (message.kind === "drained") drained.resolve(undefined);
      else if (message.kind === "failed") drained.reject(new DmigrateError(message.code, message.message));
    },
  });
  await daemon.connect();
  daemon.learn([{ pid, ranges: [{ page, pages }] }]);
  restore.begin();
  const isOver = { value: false };
  const touching = touchPages(page, () => isOver.value || signal.aborted);
  await drained.promise;
  isOver.value = true;
  await touching;
  await bulk.disconnect();
  unmapMemory(page, pages);
}

/** Reads page after page, as a program would that has just been resumed. */
async function touchPages(page: number, isOver: () => boolean): Promise<void> {
  for (let at = 0; !isOver(); at = (at + touchStep) % pages) await touchPage(page + at);
}

/** A restore that hands out one process, and is done. */
class RehearsedRestore implements RestoreEnd {
  readonly #bell = makeBell();
  readonly #messages: RestoreMessage[];
  #stage: "awaited" | "there" | "over" = "awaited";

  constructor(fd: number) {
    this.#messages = [{ kind: "process", pid, fd }, { kind: "finished" }];
  }

  /** From now on the restore is there. */
  begin(): void {
    ring(this.#bell);
  }

  get listener(): number | undefined {
    return this.#stage === "awaited" ? this.#bell : undefined;
  }

  get connection(): number | undefined {
    return this.#stage === "there" ? this.#bell : undefined;
  }

  accept(): boolean {
    this.#stage = "there";
    return true;
  }

  next(): RestoreMessage | undefined {
    return this.#messages.shift();
  }

  closeListener(): void {
    // It is the connection too.
  }

  closeConnection(): void {
    this.#stage = "over";
    closeBell(this.#bell);
  }
}
