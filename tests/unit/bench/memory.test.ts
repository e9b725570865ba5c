import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Machine } from "../../helpers/bench/machine.ts";
import {
  addReport,
  addSample,
  memoryRatios,
  type MemoryReport,
  type MemorySamples,
} from "../../helpers/bench/memory/result.ts";
import { arrivedAfterMs, middleRun, throughput, type MemoryRun } from "../../helpers/bench/memory/series.ts";
import { memoryChart } from "../../helpers/bench/report/memory-chart.ts";
import { memoryTable } from "../../helpers/bench/report/memory-table.ts";
import { memorySection } from "../../helpers/bench/report/memory.ts";
import { ticks } from "../../helpers/bench/report/ticks.ts";

const run = (resident: readonly [number, number][], faults: readonly [number, number][] = []): MemoryRun => ({
  residentBytes: resident.map(([atMs, value]) => ({ atMs, value })),
  faultMs: faults.map(([atMs, value]) => ({ atMs, value })),
});
const machine: Machine = { at: "2026-01-05T10:00:00.000Z", cores: 2, memoryGb: 16, kernel: "6.1", versions: {} };

describe("arrival of memory", () => {
  it("is what came in each bin, evenly between two samples, until all is there", () => {
    // 1000 bytes a ms from 0 to 100, nothing after.
    const steady = run([
      [-20, 0],
      [0, 0],
      [100, 100_000],
      [400, 100_000],
    ]);
    expect(arrivedAfterMs(steady)).toBe(100);
    expect(throughput(steady, 50)).toEqual([
      { atMs: 25, value: 1_000_000 },
      { atMs: 75, value: 1_000_000 },
    ]);
  });

  it("does not count what was there at the resume, nor what left", () => {
    const bins = throughput(
      run([
        [-10, 500],
        [0, 500],
        [50, 100],
        [100, 600],
      ]),
      50,
    );
    expect(bins.map(({ value }) => value)).toEqual([0, 10_000]);
  });

  it("is nothing where nothing was seen", () => {
    expect(throughput(run([]), 50)).toEqual([]);
    expect(arrivedAfterMs(run([[-5, 10]]))).toBe(0);
  });

  it("sums up to all that arrived after the resume", () => {
    const samples = fc.array(fc.tuple(fc.integer({ min: 1, max: 60 }), fc.integer({ min: 0, max: 1_000_000 })), {
      minLength: 1,
      maxLength: 50,
    });
    fc.assert(
      fc.property(samples, (steps) => {
        let [atMs, value] = [0, 0];
        const points = [
          [0, 0] as [number, number],
          ...steps.map(([ms, bytes]): [number, number] => [(atMs += ms), (value += bytes)]),
        ];
        const sum = throughput(run(points), 50).reduce((all, bin) => all + (bin.value * 50) / 1000, 0);
        expect(Math.abs(sum - value)).toBeLessThan(1e-3 * Math.max(1, value));
      }),
    );
  });

  it("is shown by the run in the middle", () => {
    const [quick, middle, slow] = [10, 20, 90].map((ms) =>
      run([
        [0, 0],
        [ms, 5],
      ]),
    );
    expect(middleRun([slow, quick, middle].flatMap((each) => each ?? []))).toBe(middle);
    expect(middleRun([])).toBeUndefined();
  });
});

const samplesOf = (...list: readonly (readonly [string, string, number])[]): MemorySamples => {
  const samples: MemorySamples = {};
  for (const [of, what, value] of list) addSample(samples, of, what, value);
  return samples;
};
const samples = samplesOf(
  ["criu-lazy", "drainMs", 3000],
  ["dmigrate", "drainMs", 1500],
  ["dmigrate", "drainBytesPerSecond", 4e8],
  ["limits", "tcpBytesPerSecond", 2e9],
  ["limits", "uffdBytesPerSecond", 8e8],
  ["dmigrate", "faultP99Ms", 6],
  ["criu-lazy", "faultP99Ms", 4],
  ["dmigrate", "pagerOverWindowMb", -20],
  ["dmigrate", "pagerOverWindowMb", 5],
);
const report: MemoryReport = {
  sittings: [machine],
  megabytes: 1000,
  samples,
  runs: {
    dmigrate: [
      run(
        [
          [0, 0],
          [100, 1e8],
        ],
        [
          [0, 0.2],
          [50, 12],
        ],
      ),
    ],
    "criu-lazy": [
      run(
        [
          [0, 0],
          [400, 1e8],
        ],
        [
          [1, 0.4],
          [399, 3],
        ],
      ),
    ],
  },
};

describe("the memory benchmark", () => {
  it("makes ratios of what there is, and leaves out the others", () => {
    expect(memoryRatios(samples)).toEqual({
      drainVsCriu: 2,
      drainVsLimit: 0.5,
      faultP99VsCriu: 1.5,
      pagerPeakOverWindowMb: 5,
    });
    expect(memoryRatios({})).toEqual({});
    const rows = memoryTable(report).split("\n");
    expect(rows[2]).toMatch(/1500 ms +\| CRIU 3000 ms +\| 2\.00× as fast/);
    expect(rows[3]).toContain("50 % of it");
    expect(rows[7]).toMatch(/\| – +\| `post-copy` – +\| –/);
  });

  it("adds samples of a later sitting, and changes neither", () => {
    const before = structuredClone(report);
    const both = addReport(report, report);
    expect(report).toEqual(before);
    expect(both.samples["dmigrate"]?.["drainMs"]).toEqual([1500, 1500]);
    expect(both.runs["dmigrate"]).toHaveLength(2);
    expect(both.sittings).toHaveLength(2);
    expect(addReport(undefined, report)).toBe(report);
  });

  it("is drawn on one time for both, and says when there is nothing", () => {
    const { content, pictures } = memorySection(report);
    expect(content).toContain("docs/bench/memory.svg");
    const [picture] = pictures;
    expect(picture?.svg).toContain("CRIU lazy pages");
    expect(picture?.svg).not.toMatch(/NaN|undefined|Infinity/);
    expect(() => memoryChart({ title: "t", lines: [] })).toThrow("nothing to show");
    expect(memorySection({ ...report, runs: {} }).pictures).toEqual([]);
  });

  it("draws a place once, however many faults are there", () => {
    const many = Array.from({ length: 5_000 }, (): [number, number] => [50, 1]);
    const svg = memoryChart({
      title: "t",
      lines: [
        {
          name: "x",
          isOurs: true,
          run: run(
            [
              [0, 0],
              [100, 1e6],
            ],
            many,
          ),
        },
      ],
    });
    expect(svg.length).toBeLessThan(5_000);
  });
});

describe("ticks", () => {
  it("are round, from 0 up to the length", () => {
    expect(ticks(950)).toEqual([0, 200, 400, 600, 800]);
    expect(ticks(0.6)).toEqual([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6]);
  });
});
