/**
 * A thread of the shipper that serves all transfers' connections of one role out of the frozen memory. Faults have a
 * thread of their own, which goes before all others: their answers are one page each, and wait for nothing.
 */
import { parentPort, workerData } from "node:worker_threads";
import { putIn } from "../../shared/adapters/socket-handover.ts";
import { preferThisThread } from "../../shared/adapters/thread-priority.ts";
import { asDmigrateError, DmigrateError, messageOf } from "../../shared/errors.ts";
import { Handshakes } from "../../shared/link/data-server.ts";
import { createLog } from "../../shared/log.ts";
import { DataDoor } from "../adapters/data-door.ts";
import { PageCounters } from "./counters.ts";
import type { FromThread, Order, PageThreadOptions, ToThread } from "./messages.ts";
import { PageTransfer } from "./page-transfer.ts";

const port = parentPort;
if (port === null) throw new Error("this is a thread of the shipper");
const { role, logLevel } = workerData as PageThreadOptions;
const log = createLog("shipper", logLevel);
if (role === "faults") log.info({ urgency: preferThisThread() }, "faults are answered by a thread of their own");

const transfers = new Map<string, PageTransfer>();
const handshakes = new Handshakes(new DataDoor((id) => transfers.get(id), log).handshakes);
const answer = (message: FromThread): void => port.postMessage(message);

/** Answers how many pages were announced. */
async function obey(migrationId: string, order: Order): Promise<number> {
  if (order.kind === "begin") {
    transfers.set(migrationId, new PageTransfer(order.secret, order.security, new PageCounters(order.counters)));
    return 0;
  }
  const transfer = transfers.get(migrationId);
  if (transfer === undefined) throw new DmigrateError("not-found", `there is no transfer ${migrationId} here`);
  switch (order.kind) {
    case "open":
      transfer.open(order);
      return 0;
    case "lose":
      transfer.lose(order.why);
      return 0;
    case "announce":
      return transfer.announce(order.processes);
    case "end":
      transfer.end();
      transfers.delete(migrationId);
      return 0;
  }
}

function connect({ id, socket: handed, preamble }: Extract<ToThread, { kind: "connection" }>): void {
  // First: a descriptor that two take for theirs would be closed twice.
  answer({ kind: "taken", id });
  try {
    const socket = putIn(handed);
    if (!handshakes.begin(socket)) return;
    handshakes.goOn(socket, preamble).catch((error: unknown) => handshakes.refuse(socket, error));
  } catch (error) {
    // No connection is worth those that are served already.
    log.debug({ reason: messageOf(error) }, "a data connection was lost before its handshake");
  }
}

port.on("message", (message: ToThread) => {
  if (message.kind === "stop") process.exit(0);
  if (message.kind === "connection") {
    connect(message);
    return;
  }
  const { id, migrationId, order } = message;
  obey(migrationId, order).then(
    (pages) => answer({ kind: "done", id, pages }),
    (error: unknown) => {
      const { code, message: text } = asDmigrateError(error, "internal", "a page thread failed");
      answer({ kind: "failed", id, code, message: text });
    },
  );
});
