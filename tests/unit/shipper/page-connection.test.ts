/** A destination that knows the secret, and asks for more than any of ours would. */
import { afterEach, beforeEach, expect, test } from "vitest";
import { Poller } from "../../../services/shared/adapters/poller.ts";
import { frameTypes } from "../../../services/shared/core/frames/frame.ts";
import { encodePageRequest, encodeZeroPages, maxZeroPages } from "../../../services/shared/core/frames/page-message.ts";
import { RecordSocket } from "../../../services/shared/link/record-socket.ts";
import { PageCounters } from "../../../services/shipper/page-thread/counters.ts";
import { PageGate } from "../../../services/shipper/page-thread/page-gate.ts";
import { PageConnection } from "../../../services/shipper/page-thread/page-connection.ts";
import { socketPair, type SocketPair } from "../../helpers/socket-pair.ts";

let pair: SocketPair;
let destination: RecordSocket;
let counters: PageCounters;
let gate: PageGate;
let lost: string[];

const connect = (mostPages: number): PageConnection =>
  new PageConnection({
    connection: pair.connections[0],
    memory: () => ({ read: ({ pages }) => ({ ...encodeZeroPages(pages), release: () => undefined }) }),
    ...{ counters, mostPages, gate, compresses: false },
    onLost: (reason) => lost.push(reason),
  });
const ask = (requests: number, pages: number, priority: 0 | 2 | 3 = 0): void => {
  for (let channel = 1; channel <= requests; channel++) {
    const request = encodePageRequest({ pid: 1, vaddr: 0n, pages, priority, known: false, dense: false });
    destination.write(frameTypes.pageRequest, channel, request);
  }
  destination.flush();
};

beforeEach(() => {
  pair = socketPair("tls", 1 << 20);
  destination = new RecordSocket(pair.connections[1], (bytes) => Buffer.allocUnsafeSlow(bytes));
  counters = new PageCounters();
  gate = new PageGate();
  lost = [];
});
afterEach(() => {
  destination.close();
  pair.closeAll();
});

test("of runs of zero pages no more are read in a turn than one answer may have", () => {
  const pages = connect(maxZeroPages);
  ask(10, maxZeroPages);
  pages.onReady();
  expect(counters.pagesSent).toBe(maxZeroPages);
  expect(pages.isBusy).toBe(true);
  while (pages.isBusy) pages.goOn();
  expect(counters.pagesSent).toBe(10 * maxZeroPages);
  expect(lost).toEqual([]);
});

test("what nobody waits for stays back behind a closed gate, and who keeps it asks to be told", () => {
  const pages = connect(64);
  gate.close();
  ask(1, 7, 3);
  ask(1, 5, 2);
  pages.onReady();
  ask(1, 1, 0);
  pages.onReady();
  expect(counters.pagesSent).toBe(1);
  expect(pages.isBusy).toBe(false);
  expect(gate.open()).toBe(true);
  expect(pages.isBusy).toBe(true);
  pages.goOn();
  expect(counters.pagesSent).toBe(13);
  gate.close();
  expect(gate.open()).toBe(false);
});

test("one that is full, held back, and gone keeps its thread not busy, and is noticed once the gate is open", () => {
  const pages = connect(64);
  gate.close();
  while (pages.isReading) {
    ask(1_000, 1, 3);
    pages.onReady();
  }
  pair.close(1);
  const waitedMs = new Poller().wait([pages], 50);
  expect(waitedMs).toBeGreaterThan(40);
  expect(lost).toEqual([]);
  gate.open();
  expect(pages.isBusy).toBe(true);
  pages.goOn();
  expect(lost).toHaveLength(1);
});

test("an answer has no more pages than it may have", () => {
  const pages = connect(64);
  ask(3, maxZeroPages);
  pages.onReady();
  expect(counters.pagesSent).toBe(3 * 64);
});
