/**
 * The page daemon's second thread: receives the background's pages, and fills them in where they were placed. Deciphering
 * and copying take nearly all of a drain's time; here they keep nobody waiting who has faults to answer.
 */
import { parentPort, workerData } from "node:worker_threads";
import { PayloadPool } from "../../shared/core/frames/payload-pool.ts";
import { unpreferThisThread } from "../../shared/adapters/thread-priority.ts";
import { asDmigrateError } from "../../shared/errors.ts";
import { FillLock } from "../adapters/fill-lock.ts";
import type { Placement } from "../core/placement.ts";
import { board, type BulkLink, type FromBulk, type SharedPages, type ToBulk } from "./bulk-messages.ts";
import { fillPlaced } from "./fill-placed.ts";
import { PageLane, type PageAnswer, type PageRequest } from "./page-lane.ts";

interface Asked extends PageRequest {
  id: number;
  placement: Placement | undefined;
}

// But for the first, such a thread is started by one that is urgent. To give way to the container's threads (nice 10) made
// a drain under load a quarter longer, and the downtime no shorter.
unpreferThisThread();
const port = parentPort;
if (port === null) throw new Error("this is a thread of the page daemon");
const shared = workerData as SharedArrayBuffer;
const lock = new FillLock(shared);
const bytesReceived = new BigUint64Array(shared, board.receivedAt, 1);
const pool = new PayloadPool((bytes) => Buffer.from(new SharedArrayBuffer(bytes)));
let lane: PageLane | undefined;
let reports: FromBulk[] = [];

/** What happens in one turn is told in one message. */
function report(message: FromBulk): void {
  if (reports.push(message) === 1) setImmediate(tell);
}

function tell(): void {
  Atomics.store(bytesReceived, 0, BigInt(lane?.bytesReceived ?? 0));
  port?.postMessage(reports);
  reports = [];
}

function failureOf(error: unknown): Pick<FromBulk & { kind: "failure" }, "code" | "message"> {
  const { code, message } = asDmigrateError(error, "internal", "the page daemon's bulk thread failed");
  return { code, message };
}

async function connect(link: BulkLink, lost: string | undefined): Promise<void> {
  lane = new PageLane({
    ...link,
    role: "pages",
    pool,
    // It ends with the thread.
    signal: new AbortController().signal,
    onAnswer: answered,
    onRefused: (request) => report({ kind: "refused", id: (request as Asked).id }),
    onMap: (map) => report({ kind: "map", map }),
    onLink: (lost) => report({ kind: "link", lost }),
    onFailure: (error) => report({ kind: "failure", ...failureOf(error) }),
  });
  if (lost !== undefined) {
    await lane.reconnect(lost);
    return;
  }
  try {
    await lane.connect();
    report({ kind: "connected" });
  } catch (error) {
    report({ kind: "unconnected", ...failureOf(error) });
  }
}

function answered({ request, pages, spans, provisional, payload, keep }: PageAnswer): void {
  const { id, placement } = request as Asked;
  const hasContents = spans.some(({ at }) => typeof at === "number");
  // Memory of the pool is shared, and only what has no contents is too small for it.
  const memory = hasContents ? (payload.buffer as unknown as SharedArrayBuffer) : undefined;
  const contents: SharedPages = { spans, memory };
  const isPlain = placement !== undefined && !provisional && spans.every(({ at }) => at !== "same");
  const { filled, outcome } = isPlain
    ? fillPlaced(lock, placement, request.page, contents)
    : { filled: [], outcome: "stale" as const };
  const rest = outcome === "whole" ? undefined : contents;
  if (rest !== undefined) keep();
  report({ kind: "answered", id, pages, provisional, filled, rest });
}

function obey(message: ToBulk): void {
  switch (message.kind) {
    case "connect":
      void connect(message.link, message.lost);
      return;
    case "ask": {
      const asked: Asked = { ...message.request, id: message.id, placement: message.placement };
      lane?.request(asked);
      return;
    }
    case "fill":
      report({ kind: "filled", id: message.id, ...fillPlaced(lock, message.placement, message.image, message) });
      return;
    case "free":
      pool.restock(Buffer.from(message.memory));
      return;
    case "end":
      process.exit(0);
  }
}

port.on("message", (messages: readonly ToBulk[]) => {
  for (const message of messages) obey(message);
});
