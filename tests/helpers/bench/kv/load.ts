/** A steady load of writes, in a thread of its own. */
import { Worker } from "node:worker_threads";

import type { Address } from "../probe/seek.ts";
import type { KvShared } from "./data.ts";

export interface LoadOptions {
  readonly data: KvShared;
  readonly addresses: readonly Address[];
  readonly writesPerSecond: number;
  /** Writes go to the first so many keys only; all of them when absent. */
  readonly keys?: number;
}

export interface LoadReport {
  readonly acknowledged: number;
}

export interface Load {
  /** Ends the load; resolves when its last write is answered or given up. */
  stop(): Promise<LoadReport>;
}

export function startLoad(options: LoadOptions): Load {
  const worker = new Worker(new URL("./load-worker.ts", import.meta.url), { workerData: options });
  const failed = new Promise<never>((_, reject) => worker.once("error", reject));
  failed.catch(() => undefined); // stop() meets it
  return {
    stop: async () => {
      try {
        const report = new Promise<LoadReport>((resolve) => worker.once("message", resolve));
        worker.postMessage("stop");
        return await Promise.race([report, failed]);
      } finally {
        await worker.terminate();
      }
    },
  };
}
