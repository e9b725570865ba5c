/** Round trips of urgent 4 KB frames: pages of the container on node a, asked for as faults are, one after the other. */
import { preferThisThread, unpreferThisThread } from "../../../services/shared/adapters/thread-priority.ts";
import { connectPages } from "../../../services/shared/link/page-client.ts";
import type { BenchLab } from "./bench-lab.ts";
import type { ShipperRun } from "./shipper-run.ts";

const pauseMs = 2;

/** Asks until the signal, with the urgency of a page daemon; resolves with the round trips, ms. */
export async function urgentRoundTrips({ a }: BenchLab, shipper: ShipperRun, until: AbortSignal): Promise<number[]> {
  const { migrationId, secret, dataPort } = shipper;
  const maps = await a.run(`grep -m1 ' rw-p ' /proc/$(docker inspect -f '{{.State.Pid}}' bench-files)/maps`, {
    quiet: true,
  });
  const vaddr = BigInt(`0x${maps.split("-")[0] ?? ""}`);
  const closing = new AbortController();
  const source = { host: a.ip, port: dataPort };
  const pages = await connectPages({ migrationId, secret, source, signal: closing.signal, role: "faults" });
  pages.closed.catch(() => undefined);
  const times: number[] = [];
  preferThisThread();
  try {
    while (!until.aborted) {
      const began = performance.now();
      await pages.fetch({ pid: 1, vaddr, pages: 1, priority: 0 });
      times.push(performance.now() - began);
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  } finally {
    unpreferThisThread();
    pages.close();
    closing.abort();
  }
  return times;
}
