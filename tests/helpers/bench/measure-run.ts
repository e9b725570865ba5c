/**
 * One run of one system with one workload over one link:
 *
 *   clear ─ start ─ fill ─ load and probe begin ─ settle ─ [ migrate ] ─ until the client has recovered ─ load ends ─ verify ─ clear
 */
import { setTimeout as sleep } from "node:timers/promises";

import type { BenchLab } from "./bench-lab.ts";
import { readCounters, readServicePeaks, resetServicePeaks } from "./counters.ts";
import { setLink, useLink, type Link } from "./link.ts";
import { latencies, longestGap, recoveredAfterMs } from "./probe/analysis.ts";
import { startProbe } from "./probe/probe.ts";
import type { Address } from "./probe/seek.ts";
import { quantileOf } from "./statistics.ts";
import { clearNode, criuErrors, type Drain, type System } from "./systems/system.ts";
import { waitForAnswer } from "./wait-for-answer.ts";
import type { Workload } from "./workloads/workload.ts";

export interface RunOptions {
  readonly system: System;
  readonly workload: Workload;
  readonly link: Link;
  /** For the migration itself. */
  readonly timeoutMs: number;
}

export interface RunResult {
  /** The longest time without an answer. */
  readonly downtimeMs: number;
  /** From the request to the source released. */
  readonly totalMs: number;
  /** From the downtime's begin until the client's 99th percentile is within twice of before; absent when it was not in time. */
  readonly recoveredMs?: number;
  /** The client's 99th percentile from the downtime's end to the source released; absent when there are too few answers in it. */
  readonly drainP99Ms?: number;
  readonly bytesOnWire: number;
  readonly cpuSeconds: number;
  /** Most resident memory of Dmigrate's services on one node, MB; absent for the others. */
  readonly servicePeakMb?: number;
  readonly drain?: Drain;
  readonly servicePeakAtDestinationMb?: number;
  /** What is wrong with the data at the destination; absent when it is right. */
  readonly fault?: string;
  /** The commands, in order. */
  readonly commands: readonly string[];
}

const settleMs = 1_500;
const recoveryMs = 15_000;
const fewestSamples = 20;

export async function measureRun(bench: BenchLab, options: RunOptions): Promise<RunResult> {
  const { a, b, lab } = bench;
  const { system, workload, link, timeoutMs } = options;
  const commands: string[] = [];
  for (const shell of [a, b]) shell.record(commands);
  const [source, destination] = [a, b].map(({ ip }): Address => ({ host: ip, port: workload.port })) as [
    Address,
    Address,
  ];
  let at = a;
  await Promise.all([clearNode(a), clearNode(b)]);
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(async () => {
    await setLink(bench, "unlimited");
    await Promise.all([clearNode(a), clearNode(b)]);
  });

  await system.start(bench, workload);
  await waitForAnswer(source, workload, 60_000);
  const prepared = await workload.prepare({
    source,
    destination,
    outer: lab.nodes.a.outer,
    workloadImage: bench.workloadImage,
    exec: (command, commandMs = 120_000) =>
      at.run(`${system.exec} bash -c '${command.replaceAll("'", `'\\''`)}'`, { quiet: true, timeoutMs: commandMs }),
  });
  await useLink(bench, link);
  await resetServicePeaks(bench);
  const load = new AsyncDisposableStack();
  load.defer(await prepared.startLoad());
  cleanup.use(load);
  await using probe = startProbe({
    addresses: [source, destination],
    protocol: workload.protocol,
    keys: workload.keys,
  });
  await sleep(settleMs);

  const before = await readCounters(bench);
  const requestMs = performance.timeOrigin + performance.now();
  const began = performance.now();
  const drain = await system.migrate(bench, workload, timeoutMs).catch(async (error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`${reason}\n${await criuErrors(bench)}`.trim(), { cause: error });
  });
  const totalMs = performance.now() - began;
  const after = await readCounters(bench);
  const peaks = await readServicePeaks(bench);
  at = b;

  let recoveredMs: number | undefined;
  let samples = await probe.samples();
  const deadline = performance.now() + recoveryMs;
  for (;;) {
    const down = longestGap(samples, requestMs);
    recoveredMs = recoveredAfterMs(samples, { requestMs, downFromMs: down.startMs });
    if (recoveredMs !== undefined || performance.now() > deadline) break;
    await sleep(500);
    samples = await probe.samples();
  }
  await load.disposeAsync();
  await setLink(bench, "unlimited");
  const down = longestGap(samples, requestMs);
  const duringDrain = latencies(samples, down.startMs + down.ms, requestMs + totalMs);
  const fault = await prepared.findFault();
  return {
    downtimeMs: down.ms,
    totalMs,
    ...(recoveredMs !== undefined && { recoveredMs }),
    ...(duringDrain.length >= fewestSamples && { drainP99Ms: quantileOf(duringDrain, 0.99) }),
    bytesOnWire: after.bytesOnWire - before.bytesOnWire,
    cpuSeconds: after.cpuSeconds - before.cpuSeconds,
    ...(system.name.startsWith("dmigrate") && { servicePeakMb: Math.max(peaks.a, peaks.b) }),
    ...(drain !== undefined && { drain }),
    ...(system.name.startsWith("dmigrate") && { servicePeakAtDestinationMb: peaks.b }),
    ...(fault !== undefined && { fault }),
    commands: commands.map((command) => command.replaceAll(a.ip, "A").replaceAll(b.ip, "B")),
  };
}
