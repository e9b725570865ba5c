/**
 * `npm run bench:memory [-- --json] [--runs N] [--mb N]`: how fast memory follows after the resume, and how long a fault takes,
 * against CRIU's own lazy pages and against what the machine can do. With --json one object of ratios is the last line of stdout.
 */
import { parseArgs } from "node:util";

import { runMain } from "../../services/shared/serve.ts";
import { attempt } from "../helpers/bench/attempt.ts";
import { startBenchLab } from "../helpers/bench/bench-lab.ts";
import { startCounting } from "../helpers/bench/counters.ts";
import { measureLimits, type Limits } from "../helpers/bench/limits.ts";
import { measureFaults } from "../helpers/bench/measure-faults.ts";
import { measureRun, type RunResult } from "../helpers/bench/measure-run.ts";
import { known, ratio } from "../helpers/bench/ratios.ts";
import { medianOf, quantileOf } from "../helpers/bench/statistics.ts";
import { systems } from "../helpers/bench/systems/list.ts";
import type { System } from "../helpers/bench/systems/system.ts";
import { storeWorkload } from "../helpers/bench/workloads/stores.ts";

const say = (text: string): void => void process.stderr.write(`${text}\n`);
const runTimeoutMs = 240_000;
const fewestFaults = 50;

await runMain(async () => {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean", default: false },
      runs: { type: "string", default: "5" },
      mb: { type: "string", default: "1000" },
    },
  });
  const [runs, megabytes] = [Number(values.runs), Number(values.mb)];
  if (!Number.isInteger(runs) || runs < 1 || !Number.isInteger(megabytes) || megabytes < 1)
    throw new Error("--runs and --mb: whole numbers from 1 on");
  const named = (name: string): System | undefined => systems.find((system) => system.name === name);
  const [criu, ours, hybrid] = [named("criu-lazy"), named("dmigrate"), named("dmigrate-hybrid")];
  if (criu === undefined || ours === undefined) throw new Error("a system is missing");
  await using bench = await startBenchLab({ log: say, podman: false });
  await startCounting(bench);

  const redis = storeWorkload({ name: "redis", kind: "redis", megabytes, writesPerSecond: 1_000 });
  const rewriting = storeWorkload({
    name: "redis-5%",
    kind: "redis",
    megabytes,
    writesPerSecond: 5_000,
    hotShare: 0.05,
  });
  const drains = new Map<System, RunResult[]>([
    [criu, []],
    [ours, []],
  ]);
  const faults = new Map<System, number[]>([
    [criu, []],
    [ours, []],
  ]);
  const slow = new Map<System, RunResult[]>(
    hybrid === undefined
      ? []
      : [
          [ours, []],
          [hybrid, []],
        ],
  );
  const limits: Limits[] = [];
  for (let run = 1; run <= runs; run++) {
    await attempt(say, `limits ${run}/${runs}`, runTimeoutMs, async () => void limits.push(await measureLimits(bench)));
    for (const [system, results] of drains) {
      await attempt(say, `drain ${system.name} ${run}/${runs}`, runTimeoutMs, async () => {
        const result = await measureRun(bench, { system, workload: redis, link: "unlimited", timeoutMs: runTimeoutMs });
        if (result.fault !== undefined) throw new Error(result.fault);
        say(
          `  drained in ${result.drain?.ms.toFixed(0)} ms, client's p99 meanwhile ${result.drainP99Ms?.toFixed(1)} ms`,
        );
        results.push(result);
      });
    }
    for (const [system, p99s] of faults) {
      await attempt(say, `faults ${system.name} ${run}/${runs}`, runTimeoutMs, async () => {
        const met = await measureFaults(bench, system, megabytes, runTimeoutMs);
        if (met.length < fewestFaults) throw new Error(`only ${met.length} faults`);
        const times = met.map(({ ms }) => ms);
        p99s.push(quantileOf(times, 0.99));
        say(
          `  ${met.length} faults: p50 ${quantileOf(times, 0.5).toFixed(2)} ms, p99 ${quantileOf(times, 0.99).toFixed(2)} ms`,
        );
      });
    }
    for (const [system, results] of slow) {
      await attempt(say, `1 Gbit/s ${system.name} ${run}/${runs}`, runTimeoutMs, async () => {
        const result = await measureRun(bench, { system, workload: rewriting, link: "1gbit", timeoutMs: runTimeoutMs });
        if (result.fault !== undefined) throw new Error(result.fault);
        results.push(result);
      });
    }
  }

  const drainMs = (of: readonly RunResult[] = []): number[] => of.flatMap(({ drain }) => drain?.ms ?? []);
  const p99 = (of: readonly RunResult[] = []): number[] => of.flatMap(({ drainP99Ms }) => drainP99Ms ?? []);
  const [theirRuns, ourRuns] = [drains.get(criu), drains.get(ours) ?? []];
  const speed = ourRuns.flatMap(({ drain }) => (drain?.bytes === undefined ? [] : (drain.bytes * 1000) / drain.ms));
  const limit = limits.map(({ tcpBytesPerSecond, uffdBytesPerSecond }) =>
    Math.min(tcpBytesPerSecond, uffdBytesPerSecond),
  );
  const overWindow = ourRuns.flatMap(({ drain, servicePeakAtDestinationMb: peak }) =>
    drain?.windowBytes === undefined || peak === undefined ? [] : peak - drain.windowBytes / 1e6,
  );
  const result = known({
    drainVsCriu: ratio(drainMs(theirRuns), drainMs(ourRuns)),
    drainVsLimit: ratio(speed, limit),
    faultP99VsCriu: ratio(faults.get(ours) ?? [], faults.get(criu) ?? []),
    clientP99VsCriu: ratio(p99(ourRuns), p99(theirRuns)),
    hybridDrainVsPure: hybrid && ratio(drainMs(slow.get(hybrid)), drainMs(slow.get(ours))),
    pagerPeakOverWindowMb: overWindow.length === 0 ? undefined : Math.max(...overWindow),
  });
  if (limit.length > 0) say(`limit ${(medianOf(limit) / 1e9).toFixed(2)} GB/s`);
  process.stdout.write(`${values.json ? JSON.stringify(result) : JSON.stringify(result, undefined, 2)}\n`);
});
