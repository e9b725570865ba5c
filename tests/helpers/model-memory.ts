/** The memory of made-up processes: contents follow from pid and page number, so that any copy can be checked. */
import type { PageRun, PageSource } from "../../services/shared/contracts/pager.ts";
import type { PageRange } from "../../services/shared/core/criu/process-images.ts";

export const pageBytes = 4096;

/** One page in eight is zero. */
export const isZeroPage = (pid: number, page: number): boolean => (page * 31 + pid) % 8 === 0;

export function pageContents(pid: number, page: number): Buffer {
  const bytes = Buffer.alloc(pageBytes);
  if (isZeroPage(pid, page)) return bytes;
  bytes.fill((page * 7 + pid) & 0xff || 1);
  bytes.writeDoubleLE(page, 0);
  bytes.writeUInt32LE(pid, 8);
  return bytes;
}

/** Up to `pages` pages from `page` on, as a source gives them: a run ends where zero pages begin or end. */
export function runAt(pid: number, page: number, pages: number): PageRun {
  const zero = isZeroPage(pid, page);
  let length = 1;
  while (length < pages && isZeroPage(pid, page + length) === zero) length += 1;
  if (zero) return { pages: length, data: null };
  return { pages: length, data: Buffer.concat(Array.from({ length }, (_, at) => pageContents(pid, page + at))) };
}

export interface ModelSource extends PageSource {
  readonly fetches: { pid: number; vaddr: bigint; pages: number; priority: 0 | 2 | 3 }[];
  /** Breaks the link: what is under way and what comes later is rejected. */
  lose(error: Error): void;
}

/** A source in this process. Answers come in the order of `delayOf`'s turns of the event loop, at once without it. */
export function createModelSource(
  processes: ReadonlyMap<number, readonly PageRange[]>,
  delayOf: () => number = () => 0,
): ModelSource {
  const fetches: ModelSource["fetches"] = [];
  const { promise: closed, resolve, reject } = Promise.withResolvers<undefined>();
  closed.catch(() => undefined);
  let bytesReceived = 0;
  let lost: Error | undefined;
  return {
    fetches,
    closed,
    close: () => resolve(undefined),
    lose: (error) => {
      lost = error;
      reject(error);
    },
    get bytesReceived() {
      return bytesReceived;
    },
    fetch: async (request) => {
      fetches.push(request);
      for (let turns = delayOf(); turns > 0; turns -= 1) await new Promise((done) => setImmediate(done));
      if (lost !== undefined) throw lost;
      const page = Number(request.vaddr / BigInt(pageBytes));
      const range = processes.get(request.pid)?.find((r) => r.page <= page && page < r.page + r.pages);
      if (range === undefined || page + request.pages > range.page + range.pages)
        throw new Error(`no such pages: ${request.pid}/${page}+${request.pages}`);
      const run = runAt(request.pid, page, request.pages);
      bytesReceived += run.data?.length ?? 0;
      return run;
    },
  };
}

/** A small generator of reproducible randomness (mulberry32): integers in [0, below). */
export function createRandom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}
