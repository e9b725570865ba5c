/**
 * `npm run bench:transfer [-- --json] [--runs N] [--scale N]`: our shipper against `tar | nc` and `rsync` between the same two nodes.
 * --scale 0.1 makes everything a tenth as large. With --json one object of ratios is the last line of stdout; a ratio that has
 * nothing to be measured with is left out.
 */
import { parseArgs } from "node:util";

import { runMain } from "../../services/shared/serve.ts";
import { attempt } from "../helpers/bench/attempt.ts";
import { startBenchLab, type BenchLab } from "../helpers/bench/bench-lab.ts";
import { setLink, type Link } from "../helpers/bench/link.ts";
import { known, ratio } from "../helpers/bench/ratios.ts";
import { openShipper, removeContainer, volumePath } from "../helpers/bench/shipper-run.ts";
import { quantileOf } from "../helpers/bench/statistics.ts";
import { emptyTarget, prepareTree, treeCopies, verifyTree, type TreeCopy } from "../helpers/bench/tree-copies.ts";
import { urgentRoundTrips } from "../helpers/bench/urgent-frames.ts";

const say = (text: string): void => void process.stderr.write(`${text}\n`);
const timeoutMs = 300_000;
const idleMs = 2_000;

type Times = Record<TreeCopy["name"], number[]>;

/** Every way with the same tree, interleaved, each verified. */
async function compare(
  bench: BenchLab,
  name: string,
  fill: string,
  runs: number,
  names: readonly TreeCopy["name"][],
  link: Link = "unlimited",
): Promise<Times> {
  const times: Times = { tar: [], rsync: [], dmigrate: [] };
  await attempt(say, `${name}: prepare`, timeoutMs, () => prepareTree(bench, fill));
  for (let run = 1; run <= runs; run++) {
    for (const { name: way, copy } of treeCopies.filter((each) => names.includes(each.name))) {
      await attempt(say, `${name}: ${way} ${run}/${runs}`, timeoutMs, async () => {
        await emptyTarget(bench);
        await setLink(bench, link);
        try {
          const ms = await copy(bench, timeoutMs);
          say(`  ${ms.toFixed(0)} ms`);
          await verifyTree(bench);
          times[way].push(ms);
        } finally {
          await setLink(bench, "unlimited");
        }
      });
    }
  }
  return times;
}

/** After a first pass, ten files change: how long the second takes. */
async function measureDelta(bench: BenchLab): Promise<number> {
  await emptyTarget(bench);
  await using shipper = await openShipper(bench);
  await shipper.firstPass(timeoutMs);
  await bench.a.run(`cd ${volumePath} && for f in $(find . -type f | head -n 10); do echo changed >> "$f"; done`);
  const ms = await shipper.delta(timeoutMs);
  await verifyTree(bench);
  return ms;
}

/** The 99th percentile of an urgent round trip, with nothing else on the link, and while files go. */
async function measureUrgent(bench: BenchLab): Promise<{ idle: number; busy: number }> {
  await emptyTarget(bench);
  await using shipper = await openShipper(bench);
  await shipper.openMemory();
  const idle = await urgentRoundTrips(bench, shipper, AbortSignal.timeout(idleMs));
  const done = new AbortController();
  const trips = urgentRoundTrips(bench, shipper, done.signal);
  trips.catch(() => undefined);
  await shipper.firstPass(timeoutMs).finally(() => done.abort());
  return { idle: quantileOf(idle, 0.99), busy: quantileOf(await trips, 0.99) };
}

await runMain(async () => {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean", default: false },
      runs: { type: "string", default: "5" },
      scale: { type: "string", default: "1" },
    },
  });
  const [runs, scale] = [Number(values.runs), Number(values.scale)];
  if (!Number.isInteger(runs) || runs < 1 || !(scale > 0 && scale <= 1))
    throw new Error("--runs: a whole number from 1 on; --scale: above 0, up to 1");
  const size = (whole: number): number => Math.max(1, Math.round(whole * scale));
  await using bench = await startBenchLab({ log: say, podman: false });

  const large = `for i in 1 2 3 4; do head -c ${size(500e6)} /dev/urandom > large$i; done`;
  const bulk = await compare(bench, "large files", large, runs, ["tar", "rsync", "dmigrate"]);
  const urgent: { idle: number; busy: number }[] = [];
  for (let run = 1; run <= runs; run++)
    await attempt(say, `urgent frames ${run}/${runs}`, timeoutMs, async () => {
      const { idle, busy } = await measureUrgent(bench);
      say(`  p99 ${idle.toFixed(2)} ms idle, ${busy.toFixed(2)} ms busy`);
      urgent.push({ idle, busy });
    });

  const files = size(100_000);
  const small = `head -c ${files * 4096} /dev/urandom | split -a 5 -b 4096 - f && mkdir d && for i in $(seq 100); do mkdir d/$i; done && ls | grep '^f' | awk '{ print > ("/tmp/list" NR % 100) }' && for i in $(seq 0 99); do [ ! -f /tmp/list$i ] || xargs -a /tmp/list$i mv -t d/$((i + 1)); done; rm -f /tmp/list*`;
  const many = await compare(bench, "small files", small, runs, ["rsync", "dmigrate"]);
  const deltas: number[] = [];
  for (let run = 1; run <= runs; run++)
    await attempt(say, `delta ${run}/${runs}`, timeoutMs, async () => {
      deltas.push(await measureDelta(bench));
      say(`  ${deltas.at(-1)?.toFixed(1)} ms`);
    });

  const text = `for i in 1 2 3 4; do seq -f 'line %.0f of file '$i ${size(3e6)} > text$i; done`;
  const slow = await compare(bench, "compressible, 100 Mbit/s", text, runs, ["tar", "dmigrate"], "100mbit");
  await Promise.all([removeContainer(bench.a), removeContainer(bench.b)]);

  const best = [bulk.tar, bulk.rsync].flatMap((times) => ratio(times, bulk.dmigrate) ?? []);
  const result = known({
    bulkVsBest: best.length === 2 ? Math.min(...best) : undefined,
    smallFilesVsRsync: ratio(many.rsync, many.dmigrate),
    slowLinkVsTar: ratio(slow.tar, slow.dmigrate),
    urgentP99VsIdle: ratio(
      urgent.map(({ busy }) => busy),
      urgent.map(({ idle }) => idle),
    ),
    deltaMs: ratio(deltas, [1]),
  });
  process.stdout.write(`${values.json ? JSON.stringify(result) : JSON.stringify(result, undefined, 2)}\n`);
});
