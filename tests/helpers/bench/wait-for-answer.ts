/** Waits until a workload answers for the first time: its program may have to make its memory or files first. */
import { seek, type Address } from "./probe/seek.ts";
import { protocolOf } from "./probe/protocols.ts";
import type { Workload } from "./workloads/workload.ts";

const everyMs = 50;

export async function waitForAnswer(address: Address, { name, protocol }: Workload, timeoutMs: number): Promise<void> {
  const { hello } = protocolOf(protocol, 0);
  // Any answer will do: a store that is still empty has no value for the hello.
  const seeking = seek({ addresses: [address], hello, isAnswer: (got) => got.length > 0, everyMs });
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${name} does not answer within ${timeoutMs} ms`)), timeoutMs);
  try {
    (await Promise.race([seeking.found, late.promise])).destroy();
  } finally {
    clearTimeout(timer);
    seeking.end();
  }
}
