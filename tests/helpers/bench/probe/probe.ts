/** Starts the client that probes, in its thread. */
import { Worker } from "node:worker_threads";

import type { Samples } from "./analysis.ts";
import type { ProtocolName } from "./protocols.ts";
import type { Address } from "./seek.ts";

export interface ProbeOptions {
  readonly addresses: readonly Address[];
  readonly protocol: ProtocolName;
  /** How many keys a store was filled with; 0 for servers without. */
  readonly keys: number;
}

export type ProbeSamples = Samples;

export interface Probe extends AsyncDisposable {
  /** What was probed so far, in ms of `performance.timeOrigin + performance.now()`. */
  samples(): Promise<ProbeSamples>;
}

export function startProbe(options: ProbeOptions): Probe {
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: options });
  const failed = new Promise<never>((_, reject) => worker.once("error", reject));
  failed.catch(() => undefined); // whoever asks for samples meets it
  return {
    samples: () => {
      const answer = new Promise<ProbeSamples>((resolve) => worker.once("message", resolve));
      worker.postMessage("samples");
      return Promise.race([answer, failed]);
    },
    [Symbol.asyncDispose]: async () => {
      await worker.terminate();
    },
  };
}
