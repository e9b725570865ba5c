/** Who gives the restored processes their pages: a page daemon of ours, or CRIU's. The pager drives either the same way. */
import { LatencyHistogram, type LatencySummary } from "./core/latency-histogram.ts";
import type { PageRange } from "../shared/core/criu/process-images.ts";

export interface ProcessPages {
  /** Pid inside the container. */
  pid: number;
  ranges: PageRange[];
}

export interface PageServerStats {
  pagesFaulted: number;
  pagesPrefetched: number;
  zeroPages: number;
  faults: number;
  faultLatencyMs: LatencySummary;
  bytesReceived: number;
  /** Pages that came before their process, and wait for it. */
  pagesHeld: number;
  /** Pages that the source has told of before the images did, and how many of them will come still. */
  pagesAnnounced: number;
  pagesAwaited: number;
}

export const noStats: PageServerStats = {
  pagesFaulted: 0,
  pagesPrefetched: 0,
  zeroPages: 0,
  faults: 0,
  faultLatencyMs: new LatencyHistogram().summary(),
  bytesReceived: 0,
  pagesHeld: 0,
  pagesAnnounced: 0,
  pagesAwaited: 0,
};

export interface PageServer {
  readonly stats: PageServerStats;
  /** Whether processes may be running here on pages that only the source has. */
  readonly needed: boolean;
  /** Makes ready for a restore to connect. Throws `restore-failed` or `timeout`. */
  serve(imagesDir: string, processes: readonly ProcessPages[]): Promise<void>;
  /**
   * Ends it. False when processes may need it and `force` is false: without their pages they would go on with zeros in
   * their memory.
   */
  stop(force: boolean): Promise<boolean>;
  /**
   * For when this process ends while the server is needed: resolves once it may. A daemon goes on by itself, and the next
   * agent takes hold of it; CRIU's server cannot, so it is given time to end.
   */
  leave(): Promise<void>;
}

/** What a page server tells; nothing after `stop`. */
export interface PageServerEvents {
  /** Every page is here, or the processes that needed it are gone. Milliseconds from the first need on. */
  onDrained: (drainMs: number) => void;
  /** Every page is on this node, before the restore: of a whole migration. */
  onCached: () => void;
  onFailure: (error: unknown) => void;
}
