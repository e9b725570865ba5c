/** The memory benchmark's samples, and the ratios that are made of them. Pure. */
import type { Machine } from "../machine.ts";
import { known, ratio } from "../ratios.ts";
import type { MemoryRun } from "./series.ts";

/** Measured values by whose they are (`limits`, or a system's name) and what they are, in the order of the runs. */
export type MemorySamples = Record<string, Record<string, number[]>>;

/** What `--save` keeps. */
export interface MemoryReport {
  /** The machine of each sitting, in their order. */
  readonly sittings: Machine[];
  /** Of the moved program's memory, 10^6 bytes each. */
  readonly megabytes: number;
  readonly samples: MemorySamples;
  /** Runs of the program that times its faults, by system. */
  readonly runs: Record<string, MemoryRun[]>;
}

/** Adds a value. */
export function addSample(samples: MemorySamples, of: string, what: string, value: number | undefined): void {
  if (value !== undefined) ((samples[of] ??= {})[what] ??= []).push(value);
}

/** The samples of both, the earlier first. Neither is changed. */
export function addReport(before: MemoryReport | undefined, after: MemoryReport): MemoryReport {
  if (before === undefined) return after;
  const samples: MemorySamples = {};
  for (const { samples: each } of [before, after])
    for (const [of, values] of Object.entries(each))
      for (const [what, list] of Object.entries(values)) for (const value of list) addSample(samples, of, what, value);
  const runs: Record<string, MemoryRun[]> = {};
  for (const { runs: each } of [before, after])
    for (const [of, list] of Object.entries(each)) runs[of] = [...(runs[of] ?? []), ...list];
  return { megabytes: after.megabytes, sittings: [...before.sittings, ...after.sittings], samples, runs };
}

export const valuesIn = (samples: Readonly<MemorySamples>, of: string, what: string): readonly number[] =>
  samples[of]?.[what] ?? [];

/** What the slower of the connection and the filling of pages allows, run by run, bytes per second. */
export function limitsIn(samples: Readonly<MemorySamples>): number[] {
  const uffd = valuesIn(samples, "limits", "uffdBytesPerSecond");
  return valuesIn(samples, "limits", "tcpBytesPerSecond").map((tcp, run) => Math.min(tcp, uffd[run] ?? tcp));
}

/**
 * Speeds over those of CRIU or of the limit, so that more than 1 is faster; latencies over CRIU's, so that less than 1 is shorter. A
 * number that has nothing to be made of is left out.
 */
export function memoryRatios(samples: Readonly<MemorySamples>): Record<string, number> {
  const of = (whose: string, what: string): readonly number[] => valuesIn(samples, whose, what);
  const overWindow = of("dmigrate", "pagerOverWindowMb");
  return known({
    drainVsCriu: ratio(of("criu-lazy", "drainMs"), of("dmigrate", "drainMs")),
    drainVsLimit: ratio(of("dmigrate", "drainBytesPerSecond"), limitsIn(samples)),
    faultP99VsCriu: ratio(of("dmigrate", "faultP99Ms"), of("criu-lazy", "faultP99Ms")),
    clientP99VsCriu: ratio(of("dmigrate", "clientP99Ms"), of("criu-lazy", "clientP99Ms")),
    hybridDrainVsPure: ratio(of("dmigrate-hybrid", "slowDrainMs"), of("dmigrate", "slowDrainMs")),
    pagerPeakOverWindowMb: overWindow.length === 0 ? undefined : Math.max(...overWindow),
  });
}
