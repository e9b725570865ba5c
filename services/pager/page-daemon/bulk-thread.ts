/**
 * The page daemon's second thread: receives the background's pages, and fills them in where they were placed. Deciphering
 * and copying take nearly all of a drain's time; here they keep nobody waiting who has faults to answer.
 *
 * It waits in poll(2), never in Node's event loop; the daemon's first thread rings a bell when it has said something.
 */
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { silence } from "../../shared/adapters/bell.ts";
import { Poller, type Watched } from "../../shared/adapters/poller.ts";
import { PayloadPool } from "../../shared/core/frames/payload-pool.ts";
import { unpreferThisThread } from "../../shared/adapters/thread-priority.ts";
import { FillLock } from "../adapters/fill-lock.ts";
import { ProcessorWait } from "../adapters/processor-wait.ts";
import { blockPages } from "../core/early-pages.ts";
import { noteFilled, type Filled, type Placement } from "../core/placement.ts";
import {
  board,
  type BulkOptions,
  type BulkRequest,
  type FromBulk,
  type SharedPages,
  type ToBulk,
} from "./bulk-messages.ts";
import { fillPlaced } from "./fill-placed.ts";
import { PageLane, type PageAnswer, type PageRequest } from "./page-lane.ts";

/** A request of the first thread, cut into what one answer may hold. */
interface Batch {
  id: number;
  placement: Placement | undefined;
  unanswered: number;
  filled: Filled[];
}

interface Asked extends PageRequest {
  batch: Batch;
}

// But for the first, such a thread is started by one that is urgent. To give way to the container's threads (nice 10) made
// a drain under load a quarter longer, and the downtime no shorter.
unpreferThisThread();
const port = parentPort;
if (port === null) throw new Error("this is a thread of the page daemon");
/** How long it may take until the end of the whole process reaches it. */
const turnMs = 250;
const waitPeriodMs = 20;

const { shared, bell } = workerData as BulkOptions;
const lock = new FillLock(shared);
const bytesReceived = new BigUint64Array(shared, board.receivedAt, 1);
const waited = new Int32Array(shared, board.waitedAt, 1);
const processorWait = new ProcessorWait();
let waitLookedAt = 0;
const pool = new PayloadPool((bytes) => Buffer.from(new SharedArrayBuffer(bytes)));
let reports: FromBulk[] = [];
const report = (message: FromBulk): void => void reports.push(message);

const openLane = (): PageLane =>
  new PageLane({
    pool,
    onAnswer: answered,
    onRefused: (request) => {
      const { batch, page, pages } = request as Asked;
      report({ kind: "refused", id: batch.id, asked: { page, pages } });
      settle(batch);
    },
    onMap: (map) => report({ kind: "map", map }),
    onLost: (reason) => report({ kind: "lost", reason }),
    onFailure: ({ code, message }) => report({ kind: "failure", code, message }),
  });
let lane = openLane();

function answered({ request, pages, spans, provisional, payload, keep }: PageAnswer): void {
  const { batch, page } = request as Asked;
  const { id, placement } = batch;
  const hasContents = spans.some(({ at }) => typeof at === "number");
  // Memory of the pool is shared, and only what has no contents is too small for it.
  const memory = hasContents ? (payload.buffer as unknown as SharedArrayBuffer) : undefined;
  const contents: SharedPages = { spans, memory };
  const isPlain = placement !== undefined && !provisional && spans.every(({ at }) => at !== "same");
  const { filled, outcome } = isPlain
    ? fillPlaced(lock, placement, page, contents)
    : { filled: [], outcome: "stale" as const };
  if (outcome === "whole" && pages === request.pages) for (const each of filled) noteFilled(batch.filled, each);
  else {
    const rest = outcome === "whole" ? undefined : contents;
    if (rest !== undefined) keep();
    report({ kind: "answered", id, asked: { page, pages: request.pages }, pages, provisional, filled, rest });
  }
  settle(batch);
}

/** One more part of it is answered. */
function settle(batch: Batch): void {
  batch.unanswered--;
  if (batch.unanswered === 0) report({ kind: "over", id: batch.id, filled: batch.filled });
}

function ask(id: number, { ranges, ...request }: BulkRequest, placement: Placement | undefined): void {
  const batch: Batch = { id, placement, unanswered: 0, filled: [] };
  for (const { page, pages } of ranges) {
    // What is kept is kept by blocks.
    for (let at = page; at < page + pages;) {
      const end = Math.min(page + pages, at - (at % blockPages) + blockPages);
      batch.unanswered++;
      const asked: Asked = { ...request, page: at, pages: end - at, batch };
      lane.request(asked);
      at = end;
    }
  }
}

function obey(message: ToBulk): void {
  switch (message.kind) {
    case "connection":
      lane.use(message.connection, message.patienceMs);
      return;
    case "ask":
      ask(message.id, message.request, message.placement);
      return;
    case "fill":
      report({ kind: "filled", id: message.id, ...fillPlaced(lock, message.placement, message.image, message) });
      return;
    case "free":
      pool.restock(Buffer.from(message.memory));
      return;
    case "disconnect":
      lane.end();
      lane = openLane();
      Atomics.store(waited, 0, 0);
      report({ kind: "disconnected" });
      return;
    case "end":
      process.exit(0);
  }
}

function hearAll(from: NonNullable<typeof parentPort>): void {
  silence(bell);
  for (;;) {
    const received = receiveMessageOnPort(from) as { message: readonly ToBulk[] } | undefined;
    if (received === undefined) break;
    for (const message of received.message) obey(message);
  }
  lane.flush();
}

/** From time to time, says how short of a processor this thread is. */
function lookAtWait(now: number): void {
  if (now - waitLookedAt < waitPeriodMs) return;
  waitLookedAt = now;
  Atomics.store(waited, 0, Math.round(1000 * processorWait.share()));
}

const poller = new Poller();
const messages: Watched = { fd: bell, isReading: true, isWriting: false, onReady: () => hearAll(port) };
for (;;) {
  const untilNext = lane.nextAt === undefined ? turnMs : Math.ceil(lane.nextAt - performance.now());
  poller.wait([messages, lane], Math.max(0, Math.min(turnMs, untilNext)));
  const now = performance.now();
  lane.askAgain(now);
  lookAtWait(now);
  if (reports.length === 0) continue;
  // What happens in one turn is told in one message.
  Atomics.store(bytesReceived, 0, BigInt(lane.bytesReceived));
  port.postMessage(reports);
  reports = [];
}
