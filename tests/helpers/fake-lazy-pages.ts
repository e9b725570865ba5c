/**
 * Behaves on its page-server connection as `criu lazy-pages` does: per process one background request at a time, lowest
 * address first, growing by 64 KiB up to 4 MiB and small again after a fault; faults at any time in between; answers
 * matched in order; what an answer leaves out is asked for again; a forked child asks again for what was under way.
 * Written without the project's codec, as its oracle. Every byte is checked against the model memory.
 */
import type { Duplex } from "node:stream";
import type { PageRange } from "../../services/shared/core/criu/process-images.ts";
import { pageBytes, pageContents } from "./model-memory.ts";

export interface FakeLazyPagesOptions {
  socket: Duplex;
  headerBytes: 24 | 32;
  processes: ReadonlyMap<number, readonly PageRange[]>;
  /** Random integer in [0, below). */
  random: (below: number) => number;
  /** One in so many steps is a fault on a page not asked for yet; 0 for none. */
  faultEvery: number;
  /** How many children are forked from the processes on the way. */
  forks: number;
}

interface Task {
  pid: number;
  missing: PageRange[];
  asked: PageRange[];
  transferPages: number;
}

interface Asked {
  task: Task;
  range: PageRange;
}

export interface FakeResult {
  faults: number;
  background: number;
  pages: number;
  status: number;
}

const defaultTransferPages = 16;
const mostTransferPages = 1024;

/** Runs until every page of every process is there, closes, and resolves. Rejects at the first wrong byte. */
export async function runFakeLazyPages(options: FakeLazyPagesOptions): Promise<FakeResult> {
  const { socket, headerBytes, random, faultEvery } = options;
  const tasks: Task[] = [...options.processes].map(([pid, ranges]) => ({
    pid,
    missing: ranges.map((range) => ({ ...range })),
    asked: [],
    transferPages: defaultTransferPages,
  }));
  const inOrder: Asked[] = [];
  const result: FakeResult = { faults: 0, background: 0, pages: 0, status: -1 };
  let forks = options.forks;

  const ask = (task: Task, range: PageRange): void => {
    task.asked.push(range);
    inOrder.push({ task, range });
    socket.write(header(headerBytes, 7, range.pages, range.page, task.pid));
  };

  const step = (): void => {
    for (const task of tasks) {
      if (faultEvery > 0 && task.missing.length > 0 && random(faultEvery) === 0) fault(task);
      if (task.asked.length > 0) continue;
      const next = task.missing.shift();
      if (next === undefined) continue;
      const pages = Math.min(next.pages, task.transferPages);
      if (pages < next.pages) task.missing.unshift({ page: next.page + pages, pages: next.pages - pages });
      task.transferPages = Math.min(task.transferPages + defaultTransferPages, mostTransferPages);
      result.background += 1;
      ask(task, { page: next.page, pages });
    }
    if (forks > 0 && random(8) === 0) {
      forks -= 1;
      const parent = tasks[random(tasks.length)];
      if (parent !== undefined) tasks.push(forked(parent));
    }
  };

  const fault = (task: Task): void => {
    const at = random(task.missing.length);
    const range = task.missing[at];
    if (range === undefined) return;
    const page = range.page + random(range.pages);
    task.missing.splice(at, 1, ...without(range, page, 1));
    task.transferPages = defaultTransferPages;
    result.faults += 1;
    ask(task, { page, pages: 1 });
  };

  const answered = (page: number, pages: number, pid: number, data: Buffer): void => {
    const head = inOrder.shift();
    if (head === undefined) throw new Error("an answer to nothing");
    const { task, range } = head;
    if (task.pid !== pid || range.page !== page)
      throw new Error(`answer for ${pid}/${page} where ${task.pid}/${range.page} was asked for first`);
    if (pages < 1 || pages > range.pages) throw new Error(`${pages} pages in answer to ${range.pages}`);
    for (let at = 0; at < pages; at += 1) {
      const got = data.subarray(at * pageBytes, (at + 1) * pageBytes);
      if (!got.equals(pageContents(pid, page + at))) throw new Error(`page ${pid}/${page + at} is wrong`);
    }
    result.pages += pages;
    task.asked = task.asked.filter((other) => other !== range);
    if (pages < range.pages) insert(task.missing, { page: page + pages, pages: range.pages - pages });
  };

  const isDone = (): boolean => inOrder.length === 0 && tasks.every(({ missing }) => missing.length === 0);

  step();
  await readAnswers(socket, headerBytes, answered, () => {
    step();
    return isDone();
  });
  result.status = await close(socket, headerBytes);
  return result;
}

function forked(parent: Task): Task {
  const missing = parent.missing.map((range) => ({ ...range }));
  for (const range of parent.asked) insert(missing, { ...range });
  return { pid: parent.pid, missing, asked: [], transferPages: defaultTransferPages };
}

const without = (range: PageRange, page: number, pages: number): PageRange[] =>
  [
    { page: range.page, pages: page - range.page },
    { page: page + pages, pages: range.page + range.pages - page - pages },
  ].filter((part) => part.pages > 0);

function insert(ranges: PageRange[], range: PageRange): void {
  const at = ranges.findIndex((other) => other.page > range.page);
  ranges.splice(at < 0 ? ranges.length : at, 0, range);
}

function header(headerBytes: 24 | 32, command: number, pages: number, page: number, pid: number): Buffer {
  // Garbage where CRIU leaves its padding.
  const bytes = Buffer.alloc(headerBytes, 0xa5);
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerBytes);
  view.setUint32(0, command, true);
  if (headerBytes === 24) view.setUint32(4, pages, true);
  else view.setBigUint64(8, BigInt(pages), true);
  view.setBigUint64(headerBytes - 16, BigInt(page) * 4096n, true);
  view.setBigUint64(headerBytes - 8, BigInt(pid), true);
  return bytes;
}

/** Gives each answer to `onAnswer`, until `isDone` says so after one. */
function readAnswers(
  socket: Duplex,
  headerBytes: 24 | 32,
  onAnswer: (page: number, pages: number, pid: number, data: Buffer) => void,
  isDone: () => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    let rest: Buffer = Buffer.alloc(0);
    const onData = (chunk: Buffer): void => {
      rest = Buffer.concat([rest, chunk]);
      try {
        while (rest.length >= headerBytes) {
          const pages = headerBytes === 24 ? rest.readUInt32LE(4) : Number(rest.readBigUInt64LE(8));
          const total = headerBytes + pages * pageBytes;
          if (rest.readUInt32LE(0) !== ((4 << 16) | 6)) throw new Error("an answer is ADD_F with PRESENT");
          if (rest.length < total) return;
          const page = Number(rest.readBigUInt64LE(headerBytes - 16) / 4096n);
          const pid = Number(rest.readBigUInt64LE(headerBytes - 8));
          onAnswer(page, pages, pid, rest.subarray(headerBytes, total));
          rest = rest.subarray(total);
          if (!isDone()) continue;
          socket.off("data", onData);
          resolve();
          return;
        }
      } catch (error) {
        reject(error instanceof Error ? error : new Error(String(error)));
      }
    };
    socket.on("data", onData);
    socket.once("close", () => reject(new Error("the connection was closed")));
  });
}

function close(socket: Duplex, headerBytes: 24 | 32): Promise<number> {
  return new Promise((resolve) => {
    socket.once("data", (bytes: Buffer) => resolve(bytes.readInt32LE(0)));
    // FORCE_CLOSE, as CRIU sends it on a socket it was given.
    socket.write(header(headerBytes, 0x1024, 0, 0, 0));
  });
}
