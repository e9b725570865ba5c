/** Remote faults as the program that meets them sees them: one migration of a program that times its own page touches. */
import type { BenchLab } from "./bench-lab.ts";
import type { MemoryRun, Point } from "./memory/series.ts";
import { clearNode, type System } from "./systems/system.ts";
import { pageToucher, readNotes, watchMemory } from "./workloads/toucher.ts";
import { pollUntil } from "../poll-until.ts";

const pauseUs = 500;
const startTimeoutMs = 60_000;

/** To the microsecond. */
const round = (ms: number): number => Number(ms.toFixed(3));

/** The faults from the resume to the end of the drain, and how memory arrived. Throws when a page is wrong, or none was faulted. */
export async function measureFaults(
  bench: BenchLab,
  system: System,
  megabytes: number,
  timeoutMs: number,
): Promise<MemoryRun> {
  const { a, b } = bench;
  const clear = () => Promise.all([clearNode(a), clearNode(b)]);
  await clear();
  const toucher = pageToucher(megabytes, pauseUs);
  try {
    await system.start(bench, toucher);
    const before = await pollUntil("the page toucher's memory", startTimeoutMs, () =>
      readNotes(a.ip).catch(() => undefined),
    );
    const watch = watchMemory(b, timeoutMs);
    let residentBytes: Point[] = [];
    try {
      await system.migrate(bench, toucher, timeoutMs);
    } finally {
      residentBytes = await watch.stop();
    }
    const { wrong, faults } = await readNotes(b.ip);
    if (wrong > 0) throw new Error(`${wrong} pages are wrong after the migration by ${system.name}`);
    const met = faults.slice(before.faults.length);
    const [first] = met;
    if (first === undefined) throw new Error(`nothing was faulted after the migration by ${system.name}`);
    const sinceResume = ({ atMs, value }: Point): Point => ({ atMs: round(atMs - first.beginMs), value: round(value) });
    return {
      residentBytes: residentBytes.map(sinceResume),
      faultMs: met.map(({ beginMs, ms }) => sinceResume({ atMs: beginMs, value: ms })),
    };
  } finally {
    await clear();
  }
}
