/** HTTP contract of the pager (destination node), and the interface by which it gets pages from the source. */
import { z } from "@hono/zod-openapi";
import { countSchema, endpointSchema, migrationIdSchema, millisSchema, readersSchema, secretSchema } from "./common.ts";

export const createPagerSchema = z.strictObject({
  migrationId: migrationIdSchema,
  secret: secretSchema,
  source: endpointSchema,
  /** How many of the source's readers are asked at once; as many as its transfer was made with, or fewer. */
  readers: readersSchema.default(1),
  /** Most bytes of pages that may wait in the pager's cache. */
  windowBytes: z.int().min(1 << 20),
  /** Most bytes of pages that may be here before their process is; as many as `windowBytes` when absent. */
  earlyBytes: z
    .int()
    .min(1 << 20)
    .optional(),
  /** Largest answer to a background request of CRIU, bytes; small keeps faults quick. */
  chunkBytes: z
    .int()
    .min(4096)
    .max(4 << 20),
  /** Stop-and-copy: every page is fetched before the restore, as far as memory goes beyond the window. */
  whole: z.boolean().default(false),
});
export type CreatePager = z.infer<typeof createPagerSchema>;

/** ready → serving → drained; failed from any. `drained`: CRIU has every page, nothing depends on the source. */
export const pagerStateSchema = z.enum(["ready", "serving", "drained", "failed"]);
export type PagerState = z.infer<typeof pagerStateSchema>;

export const pagerSchema = z
  .object({
    migrationId: migrationIdSchema,
    state: pagerStateSchema,
    error: z.string().optional(),
    /** It has failed so that processes here lack pages for good, and may read zeros in their place: they must not run on. */
    memoryGone: z.boolean().optional(),
    /** Every page is on this node, in the pager; told of a whole migration only. */
    cached: z.boolean(),
    /** Pages that came before their process, and wait for it. */
    pagesHeld: countSchema,
    /** Pages that the source has told of ahead of the images, and how many of them will come still. */
    pagesAnnounced: countSchema,
    pagesAwaited: countSchema,
    /** Lazy pages in the images; 0 until serving. */
    pagesTotal: countSchema,
    /** Pages given to CRIU in answer to faults, and in answer to its background requests. */
    pagesFaulted: countSchema,
    pagesPrefetched: countSchema,
    zeroPages: countSchema,
    /** Requests of CRIU for one page: count, and time until answered. */
    faults: countSchema,
    faultLatencyMs: z.object({ p50: millisSchema, p99: millisSchema, max: millisSchema }),
    bytesReceived: countSchema,
    serveMs: millisSchema.optional(),
    drainMs: millisSchema.optional(),
  })
  .openapi("Pager");
export type Pager = z.infer<typeof pagerSchema>;

/** Query of GET /pagers/:id: with `until`, the answer waits until that is so, a failure, or `waitMs`. */
export const waitPagerQuery = z.strictObject({
  until: z.enum(["cached", "drained"]).optional(),
  waitMs: z.coerce.number().int().min(0).max(60_000).default(0),
});

/** Query of POST /pagers/:id/serve: with `when`, it serves as soon as this node's shipper has received the images. */
export const servePagerQuery = z.strictObject({ when: z.literal("received").optional() });

/** A run of whole pages: `data` is `pages` × 4096 bytes, or null when all of them are zero. */
export interface PageRun {
  pages: number;
  data: Buffer | null;
}

/** The source's frozen memory, as the pager sees it. */
export interface PageSource {
  /**
   * Fetches up to `pages` pages of process `pid` (pid inside the container) from `vaddr` on. The run may be shorter
   * than asked, never empty. Priority 0 is a fault, 2 its neighbours, 3 the background.
   * Rejects when the link is lost, or the source does not know the process or the range.
   */
  fetch(request: { pid: number; vaddr: bigint; pages: number; priority: 0 | 2 | 3 }): Promise<PageRun>;
  /** Bytes received so far, headers included. */
  readonly bytesReceived: number;
  /** Settles when the connection is gone: resolves after close(), rejects on a loss. */
  readonly closed: Promise<void>;
  close(): void;
}
