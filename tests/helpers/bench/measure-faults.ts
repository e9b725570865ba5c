/** Remote faults as the program that meets them sees them: one migration of a program that times its own page touches. */
import type { BenchLab } from "./bench-lab.ts";
import { clearNode, type System } from "./systems/system.ts";
import { pageToucher, readNotes, type Fault } from "./workloads/toucher.ts";
import { pollUntil } from "../poll-until.ts";

const pauseUs = 500;
const startTimeoutMs = 60_000;

/** The faults from the resume to the end of the drain. Throws when a page is wrong. */
export async function measureFaults(
  bench: BenchLab,
  system: System,
  megabytes: number,
  timeoutMs: number,
): Promise<Fault[]> {
  const { a, b } = bench;
  const clear = () => Promise.all([clearNode(a), clearNode(b)]);
  await clear();
  const toucher = pageToucher(megabytes, pauseUs);
  try {
    await system.start(bench, toucher);
    const before = await pollUntil("the page toucher's memory", startTimeoutMs, () =>
      readNotes(a.ip).catch(() => undefined),
    );
    await system.migrate(bench, toucher, timeoutMs);
    const { wrong, faults } = await readNotes(b.ip);
    if (wrong > 0) throw new Error(`${wrong} pages are wrong after the migration by ${system.name}`);
    return faults.slice(before.faults.length);
  } finally {
    await clear();
  }
}
