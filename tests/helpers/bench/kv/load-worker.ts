/**
 * Rewrites random keys at a steady rate, pipelined on one connection, and follows the store from address to address. A write that was
 * not answered when its connection went may or may not have been applied: it is counted as sent, not as acknowledged.
 */
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";

import { protocolOf } from "../probe/protocols.ts";
import { seek } from "../probe/seek.ts";
import { encodeSet } from "./data.ts";
import type { LoadOptions, LoadReport } from "./load.ts";
import { wires } from "./protocol.ts";

const mostUnanswered = 500;
const silenceMs = 100;
const seekEveryMs = 25;
const lastAnswersMs = 2_000;

const { data, addresses, writesPerSecond, keys = data.count } = workerData as LoadOptions;
const acknowledged = new Uint32Array(data.acknowledged);
const sent = new Uint32Array(data.sent);
const stored = wires[data.kind].stored;

/** Keys with a write that was given up: it may still be applied after a later one, so they are left alone. */
const uncertain = new Uint8Array(data.count);

let total = 0;
const stop = new AbortController();
parentPort?.once("message", () => stop.abort());

/** One connection's worth of writes. */
class Writer {
  readonly #socket: Socket;
  readonly #unanswered: { index: number; version: number }[] = [];
  #answered = 0;
  #partial = "";
  lastAnswerMs = performance.now();
  lost = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    const lose = (): void => void (this.lost = true);
    socket.removeAllListeners();
    socket
      .on("error", lose)
      .on("close", lose)
      .on("data", (chunk: Buffer) => this.#take(chunk.toString("latin1")));
    if (socket.destroyed) lose();
  }

  get unanswered(): number {
    return this.#unanswered.length - this.#answered;
  }

  get isSilent(): boolean {
    return this.lost || (this.unanswered > 0 && performance.now() - this.lastAnswerMs > silenceMs);
  }

  write(count: number): void {
    const requests: Buffer[] = [];
    for (let at = 0; at < Math.min(count, mostUnanswered - this.unanswered); at++) {
      const index = Math.floor(Math.random() * keys);
      if (uncertain[index] === 1) continue;
      const version = (sent[index] ?? 0) + 1;
      sent[index] = version;
      if (this.unanswered === 0) this.lastAnswerMs = performance.now();
      this.#unanswered.push({ index, version });
      requests.push(encodeSet(data, index, version));
    }
    if (requests.length > 0) this.#socket.write(Buffer.concat(requests));
  }

  close(): void {
    for (const { index } of this.#unanswered.slice(this.#answered)) uncertain[index] = 1;
    this.#socket.destroy();
  }

  #take(text: string): void {
    this.#partial += text;
    while (this.#partial.length >= stored.length) {
      const write = this.#unanswered[this.#answered];
      if (!this.#partial.startsWith(stored) || write === undefined)
        throw new Error(`the store said ${this.#partial.slice(0, 80)}`);
      this.#partial = this.#partial.slice(stored.length);
      acknowledged[write.index] = write.version;
      this.#answered++;
      total++;
    }
    this.lastAnswerMs = performance.now();
    if (this.#answered < 10_000) return;
    this.#unanswered.splice(0, this.#answered);
    this.#answered = 0;
  }
}

async function findWriter(previous: Writer | undefined): Promise<Writer | undefined> {
  const { hello, isAnswer } = protocolOf(data.kind, data.count);
  const seeking = seek({ addresses, hello, isAnswer, everyMs: seekEveryMs });
  try {
    let found: Socket | undefined;
    void seeking.found.then((socket) => (found = socket));
    while (found === undefined) {
      if (stop.signal.aborted) return undefined;
      // The old connection was only slow.
      if (previous !== undefined && !previous.isSilent) return previous;
      await sleep(1);
    }
    previous?.close();
    return new Writer(found);
  } finally {
    seeking.end();
  }
}

let writer: Writer | undefined;
let last = performance.now();
let due = 0;
while (!stop.signal.aborted) {
  if (writer === undefined || writer.isSilent) {
    writer = await findWriter(writer);
    last = performance.now();
    continue;
  }
  const at = performance.now();
  due += ((at - last) * writesPerSecond) / 1000;
  last = at;
  writer.write(Math.floor(due));
  due %= 1;
  await sleep(1);
}
for (
  let waited = 0;
  writer !== undefined && !writer.lost && writer.unanswered > 0 && waited < lastAnswersMs;
  waited += 5
)
  await sleep(5);
writer?.close();
const report: LoadReport = { acknowledged: total };
parentPort?.postMessage(report);
