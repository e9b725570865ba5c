/** What `npm run bench:memory` measures, part by part: each once for every system that it compares, one after the other. */
import { attempt } from "../attempt.ts";
import type { BenchLab } from "../bench-lab.ts";
import { measureLimits } from "../limits.ts";
import { measureFaults } from "../measure-faults.ts";
import { measureRun } from "../measure-run.ts";
import { quantileOf } from "../statistics.ts";
import { systems } from "../systems/list.ts";
import type { System } from "../systems/system.ts";
import { storeWorkload } from "../workloads/stores.ts";
import { addSample, type MemoryReport } from "./result.ts";

export interface MemoryPartOptions {
  readonly bench: BenchLab;
  /** Where the samples go. */
  readonly report: MemoryReport;
  readonly say: (text: string) => void;
  /** Of the round, for what is said. */
  readonly name: string;
}

const runTimeoutMs = 240_000;
const fewestFaults = 50;

const named = (...names: readonly string[]): System[] => systems.filter(({ name }) => names.includes(name));
const lazy = named("criu-lazy", "dmigrate");
const modes = named("dmigrate", "dmigrate-hybrid");

export const memoryParts: readonly ((options: MemoryPartOptions) => Promise<void>)[] = [
  /** What the machine can do at best. */
  async ({ bench, report: { samples }, say, name }) =>
    attempt(say, `limits ${name}`, runTimeoutMs, async () => {
      const { tcpBytesPerSecond, uffdBytesPerSecond } = await measureLimits(bench);
      addSample(samples, "limits", "tcpBytesPerSecond", tcpBytesPerSecond);
      addSample(samples, "limits", "uffdBytesPerSecond", uffdBytesPerSecond);
    }),

  /** The drain of a Redis that is used meanwhile, and what its client sees. */
  async ({ bench, report: { samples, megabytes }, say, name }) => {
    const workload = storeWorkload({ name: "redis", kind: "redis", megabytes, writesPerSecond: 1_000 });
    for (const system of lazy) {
      await attempt(say, `drain ${system.name} ${name}`, runTimeoutMs, async () => {
        const options = { system, workload, link: "unlimited", timeoutMs: runTimeoutMs } as const;
        const { drain, drainP99Ms, servicePeakAtDestinationMb: peak, fault } = await measureRun(bench, options);
        if (fault !== undefined) throw new Error(fault);
        const window = drain?.windowBytes;
        addSample(samples, system.name, "drainMs", drain?.ms);
        addSample(samples, system.name, "drainBytes", drain?.bytes);
        addSample(samples, system.name, "drainBytesPerSecond", drain?.bytes && (drain.bytes * 1000) / drain.ms);
        addSample(samples, system.name, "clientP99Ms", drainP99Ms);
        addSample(samples, system.name, "servicePeakMb", peak);
        addSample(samples, system.name, "windowMb", window && window / 1e6);
        addSample(samples, system.name, "pagerOverWindowMb", window && peak && peak - window / 1e6);
        say(`  drained in ${drain?.ms.toFixed(0)} ms, client's p99 meanwhile ${drainP99Ms?.toFixed(1)} ms`);
      });
    }
  },

  /** Faults, as a program that touches page after page sees them, and how memory arrives meanwhile. */
  async ({ bench, report: { samples, megabytes, runs }, say, name }) => {
    for (const system of lazy) {
      await attempt(say, `faults ${system.name} ${name}`, runTimeoutMs, async () => {
        const run = await measureFaults(bench, system, megabytes, runTimeoutMs);
        const times = run.faultMs.map(({ value }) => value);
        if (times.length < fewestFaults) throw new Error(`only ${times.length} faults`);
        (runs[system.name] ??= []).push(run);
        const [p50, p99] = [quantileOf(times, 0.5), quantileOf(times, 0.99)];
        addSample(samples, system.name, "faultP50Ms", p50);
        addSample(samples, system.name, "faultP99Ms", p99);
        say(`  ${times.length} faults: p50 ${p50.toFixed(2)} ms, p99 ${p99.toFixed(2)} ms`);
      });
    }
  },

  /** What the first copy of hybrid saves on a slow link, when a twentieth of the keys is rewritten. */
  async ({ bench, report: { samples, megabytes }, say, name }) => {
    const load = { writesPerSecond: 5_000, hotShare: 0.05 };
    const workload = storeWorkload({ name: "redis-5%", kind: "redis", megabytes, ...load });
    for (const system of modes) {
      await attempt(say, `1 Gbit/s ${system.name} ${name}`, runTimeoutMs, async () => {
        const options = { system, workload, link: "1gbit", timeoutMs: runTimeoutMs } as const;
        const { drain, fault } = await measureRun(bench, options);
        if (fault !== undefined) throw new Error(fault);
        addSample(samples, system.name, "slowDrainMs", drain?.ms);
      });
    }
  },
];
