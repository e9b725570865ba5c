/**
 * A thread of the shipper that serves all transfers' connections of one role out of the frozen memory: a reader. Faults
 * have a thread of their own, which goes before all others: their answers are one page each, and wait for nothing.
 *
 * It waits in poll(2), never in Node's event loop, whose turns would cost more than most answers; the main thread rings
 * a bell when it has said something.
 */
import { parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { silence } from "../../shared/adapters/bell.ts";
import { packFrame } from "../../shared/adapters/packed-pages.ts";
import { Poller, type Watched } from "../../shared/adapters/poller.ts";
import { preferThisThread } from "../../shared/adapters/thread-priority.ts";
import { allocateFrame, maxDataBytes } from "../../shared/core/frames/frame.ts";
import { maxDataPages, maxZeroPages } from "../../shared/core/frames/page-message.ts";
import { asDmigrateError, DmigrateError, messageOf } from "../../shared/errors.ts";
import { createLog } from "../../shared/log.ts";
import { BusySpell, restMs } from "../core/busy-spell.ts";
import { PageCounters } from "./counters.ts";
import type { FromThread, Order, PageThreadOptions, ToThread } from "./messages.ts";
import { PageGate } from "./page-gate.ts";
import { PageTransfer } from "./page-transfer.ts";

/** How long it may take until the end of the whole process reaches it. */
const turnMs = 250;

const port = parentPort;
if (port === null) throw new Error("this is a thread of the shipper");
const { role, logLevel, bell } = workerData as PageThreadOptions;
/** A fault is one page, and the thread for faults goes before all others: it is not kept busy with long runs of zeros. */
const mostPages = role === "faults" ? maxDataPages : maxZeroPages;
if (role === "faults")
  createLog("shipper", logLevel).info({ urgency: preferThisThread() }, "faults are answered by a thread of their own");
// Zstd's first use takes many times as long as any later one, and would be taken for its speed.
else packFrame(allocateFrame(maxDataBytes).fill(0));

const transfers = new Map<string, PageTransfer>();
const tell = (message: FromThread): void => port.postMessage(message);

function obey(migrationId: string, order: Order): void {
  if (order.kind === "begin") {
    const [counters, gate] = [new PageCounters(order.counters), new PageGate(order.gate)];
    const onClosed = (id: number, reason: string): void => tell({ kind: "closed", id, reason });
    transfers.set(migrationId, new PageTransfer({ counters, gate, mostPages, compresses: order.compresses, onClosed }));
    return;
  }
  const transfer = transfers.get(migrationId);
  if (transfer === undefined) throw new DmigrateError("not-found", `there is no transfer ${migrationId} here`);
  switch (order.kind) {
    case "open":
      transfer.open(order);
      return;
    case "lose":
      transfer.lose(order.why);
      return;
    case "link":
      transfer.noteLink(order.bytesPerSecond);
      return;
    case "tell":
      transfer.connection?.tell(order.frames.map((frame) => Buffer.from(frame)));
      return;
    case "end":
      transfer.end();
      transfers.delete(migrationId);
      return;
  }
}

function hear(message: ToThread): void {
  switch (message.kind) {
    case "stop":
      process.exit(0);
      break;
    case "connection": {
      const { id, migrationId, connection } = message;
      try {
        const transfer = transfers.get(migrationId);
        if (transfer === undefined) throw new Error("the transfer is gone");
        transfer.attach(id, connection);
      } catch (error) {
        // No connection is worth those that are served already.
        tell({ kind: "closed", id, reason: messageOf(error) });
      }
      break;
    }
    case "order": {
      const { id, migrationId, order } = message;
      try {
        obey(migrationId, order);
        tell({ kind: "done", id });
      } catch (error) {
        const { code, message: text } = asDmigrateError(error, "internal", "a page thread failed");
        tell({ kind: "failed", id, code, message: text });
      }
    }
  }
}

function hearAll(from: NonNullable<typeof parentPort>): void {
  silence(bell);
  for (;;) {
    const received = receiveMessageOnPort(from) as { message: ToThread } | undefined;
    if (received === undefined) return;
    hear(received.message);
  }
}

const poller = new Poller();
const spell = role === "faults" ? new BusySpell(performance.now()) : undefined;
const messages: Watched = { fd: bell, isReading: true, isWriting: false, onReady: () => hearAll(port) };
for (;;) {
  const connections = [...transfers.values()].flatMap(({ connection }) => connection ?? []);
  const isBusy = connections.some((connection) => connection.isBusy);
  const waitedMs = poller.wait([messages, ...connections], isBusy ? 0 : turnMs);
  for (const connection of connections) if (connection.isBusy) connection.goOn();
  if (spell?.waited(waitedMs, performance.now()) === true) poller.wait([], restMs);
}
