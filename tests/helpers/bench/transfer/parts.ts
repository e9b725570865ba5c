/**
 * What `npm run bench:transfer` measures, part by part: each makes its own files, measures every way with them in turn, and
 * verifies each copy. Samples are kept as they are; ratios are made of them at the end (result.ts).
 */
import { attempt } from "../attempt.ts";
import type { BenchLab } from "../bench-lab.ts";
import { setLink, type Link } from "../link.ts";
import { openShipper, volumePath, type ShipperRun } from "../shipper-run.ts";
import { quantileOf } from "../statistics.ts";
import { emptyTarget, prepareTree, treeCopies, verifyTree, type TreeCopyName } from "../tree-copies.ts";
import { urgentRoundTrips } from "../urgent-frames.ts";

export interface PartOptions {
  readonly bench: BenchLab;
  readonly say: (text: string) => void;
  readonly runs: number;
  /** A whole size at the scale asked for, at least 1. */
  readonly size: (whole: number) => number;
}

/** Measured values by name, one for each run that worked, in the order of the runs. */
export type Samples = Record<string, number[]>;

export interface Part {
  readonly name: string;
  readonly title: string;
  readonly measure: (options: PartOptions) => Promise<Samples>;
}

const timeoutMs = 300_000;
const idleMs = 2_000;

interface Comparison {
  readonly title: string;
  /** Shell commands that make the files, in the volume's directory. */
  readonly fill: string;
  readonly ways: readonly TreeCopyName[];
  readonly link?: Link;
}

/** Every way with the same tree, interleaved, each verified: ms by way. */
async function compare(
  { bench, say, runs }: PartOptions,
  { title, fill, ways, link = "unlimited" }: Comparison,
): Promise<Samples> {
  const times: Samples = Object.fromEntries(ways.map((way) => [way, []]));
  await attempt(say, `${title}: prepare`, timeoutMs, () => prepareTree(bench, fill));
  for (let run = 1; run <= runs; run++) {
    for (const way of ways) {
      await attempt(say, `${title}: ${way} ${run}/${runs}`, timeoutMs, async () => {
        await emptyTarget(bench);
        await setLink(bench, link);
        try {
          const ms = await treeCopies[way](bench, timeoutMs);
          say(`  ${ms.toFixed(0)} ms`);
          times[way]?.push(ms);
        } finally {
          await setLink(bench, "unlimited");
        }
      });
    }
  }
  return times;
}

/** The same measurement `runs` times, each with a transfer of its own: values by name. */
async function repeat(
  { bench, say, runs }: PartOptions,
  { title, fill }: Pick<Comparison, "title" | "fill">,
  measure: (shipper: ShipperRun) => Promise<Record<string, number>>,
): Promise<Samples> {
  const samples: Samples = {};
  await attempt(say, `${title}: prepare`, timeoutMs, () => prepareTree(bench, fill));
  for (let run = 1; run <= runs; run++) {
    await attempt(say, `${title} ${run}/${runs}`, timeoutMs, async () => {
      await emptyTarget(bench);
      await using shipper = await openShipper(bench);
      for (const [name, value] of Object.entries(await measure(shipper))) {
        say(`  ${name} ${value.toFixed(2)} ms`);
        (samples[name] ??= []).push(value);
      }
    });
  }
  return samples;
}

const fillLarge = ({ size }: PartOptions): string =>
  `for i in 1 2 3 4; do head -c ${size(500e6)} /dev/urandom > large$i; done`;

/** In a hundred directories. */
function fillSmall({ size }: PartOptions): string {
  const files = size(100_000);
  return (
    `head -c ${files * 4096} /dev/urandom | split -a 5 -b 4096 - f && mkdir d && for i in $(seq 100); do mkdir d/$i; done && ` +
    `ls | grep '^f' | awk '{ print > ("/tmp/list" NR % 100) }' && ` +
    `for i in $(seq 0 99); do [ ! -f /tmp/list$i ] || xargs -a /tmp/list$i mv -t d/$((i + 1)); done; rm -f /tmp/list*`
  );
}

const fillText = ({ size }: PartOptions): string =>
  `for i in 1 2 3 4; do seq -f 'line %.0f of file '$i ${size(3e6)} > text$i; done`;

export const parts: readonly Part[] = [
  {
    name: "bulk",
    title: "2 GB in 4 files",
    measure: (options) =>
      compare(options, { title: "large files", fill: fillLarge(options), ways: ["tar", "rsync", "dmigrate", "plain"] }),
  },
  {
    name: "small",
    title: "100 000 files of 4 KB",
    measure: (options) =>
      compare(options, { title: "small files", fill: fillSmall(options), ways: ["rsync", "dmigrate"] }),
  },
  {
    name: "slow",
    title: "compressible, 100 Mbit/s",
    measure: (options) =>
      compare(options, {
        title: "compressible, 100 Mbit/s",
        fill: fillText(options),
        ways: ["tar", "dmigrate"],
        link: "100mbit",
      }),
  },
  {
    name: "urgent",
    title: "p99 of an urgent 4 KB round trip",
    measure: (options) =>
      repeat(options, { title: "urgent frames", fill: fillLarge(options) }, async (shipper) => {
        const { bench } = options;
        await shipper.openMemory();
        const idle = await urgentRoundTrips(bench, shipper, AbortSignal.timeout(idleMs));
        const done = new AbortController();
        const trips = urgentRoundTrips(bench, shipper, done.signal);
        trips.catch(() => undefined);
        await shipper.firstPass(timeoutMs).finally(() => done.abort());
        return { idle: quantileOf(idle, 0.99), busy: quantileOf(await trips, 0.99) };
      }),
  },
  {
    name: "delta",
    title: "10 changed of 100 000 files",
    measure: (options) =>
      repeat(options, { title: "delta", fill: fillSmall(options) }, async (shipper) => {
        const { bench } = options;
        await shipper.firstPass(timeoutMs);
        await bench.a.run(`cd ${volumePath} && for f in $(find . -type f | head -n 10); do echo changed >> "$f"; done`);
        const delta = await shipper.delta(timeoutMs);
        await verifyTree(bench);
        return { delta };
      }),
  },
];
