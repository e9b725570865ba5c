/**
 * The pager's connection to the source's frozen memory. Many requests are in flight at once; answers are matched by
 * number and come in the source's order: faults first.
 */
import type { Endpoint } from "../contracts/common.ts";
import type { PageRun, PageSource } from "../contracts/pager.ts";
import { FrameError, frameTypes, type Frame } from "../core/frames/frame.ts";
import { decodePages, encodePageRequest } from "../core/frames/page-message.ts";
import { DmigrateError, messageOf } from "../errors.ts";
import { openLink } from "./dial.ts";

export interface ConnectPagesOptions {
  migrationId: string;
  /** 64 hex digits. */
  secret: string;
  /** The source shipper's data port. */
  source: Endpoint;
  /** Aborting it closes the connection, also later. */
  signal: AbortSignal;
  /** What the connection is for: the one for faults is served first. */
  role?: "pages" | "faults";
}

interface Waiting {
  pages: number;
  resolve: (run: PageRun) => void;
  reject: (error: Error) => void;
}

/** Connects once, within a few seconds; trying again is the caller's. Throws `unavailable`, `unauthorized`, `cancelled`. */
export async function connectPages(options: ConnectPagesOptions): Promise<PageSource> {
  const waiting = new Map<number, Waiting>();
  let lastRequest = 0;
  let lost: DmigrateError | undefined;

  const { role = "pages" } = options;
  const link = await openLink({ ...options, role }, { onFrame: (frame) => settle(waiting, frame) });
  const gone = (async () => {
    const reason = await link.closed;
    lost =
      reason === undefined
        ? new DmigrateError("cancelled", "the page connection was closed")
        : new DmigrateError("unavailable", `the page connection to the source is lost: ${messageOf(reason)}`, {
            cause: reason,
          });
    for (const { reject } of waiting.values()) reject(lost);
    waiting.clear();
    if (reason !== undefined) throw lost;
  })();
  // Who does not look at `closed` learns of the loss from the next fetch.
  gone.catch(() => undefined);

  return {
    fetch({ pid, vaddr, pages, priority }) {
      if (!link.open)
        return Promise.reject(lost ?? new DmigrateError("unavailable", "the page connection to the source is closed"));
      const { promise, resolve, reject } = Promise.withResolvers<PageRun>();
      lastRequest = (lastRequest + 1) >>> 0;
      waiting.set(lastRequest, { pages, resolve, reject });
      const request = encodePageRequest({ pid, vaddr, pages, priority, known: false, dense: false });
      link.write(frameTypes.pageRequest, lastRequest, request);
      return promise;
    },
    get bytesReceived() {
      return link.bytesReceived;
    },
    closed: gone,
    close: () => link.close(),
  };
}

function settle(waiting: Map<number, Waiting>, { type, channel, flags, payload }: Frame): void {
  const request = waiting.get(channel);
  if (request === undefined) throw new FrameError(`the source answered request ${channel}, which was not asked`);
  if (type === frameTypes.pages) {
    const run = decodePages(payload, flags);
    if (run.pages > request.pages) throw new FrameError(`${run.pages} pages arrived where ${request.pages} were asked`);
    waiting.delete(channel);
    request.resolve(run);
  } else if (type === frameTypes.pageError) {
    waiting.delete(channel);
    request.reject(new DmigrateError("transfer-failed", `the source could not read pages: ${payload.toString()}`));
  } else throw new FrameError(`the source sent a frame of type ${type} on the page connection`);
}
