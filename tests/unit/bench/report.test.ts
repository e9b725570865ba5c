import { describe, expect, it } from "vitest";
import { choose } from "../../helpers/bench/options.ts";
import { barChart } from "../../helpers/bench/report/bar-chart.ts";
import { charts } from "../../helpers/bench/report/charts.ts";
import { toCell, type Cell } from "../../helpers/bench/report/result.ts";
import { markers, replaceSection } from "../../helpers/bench/report/sections.ts";
import { resultTable } from "../../helpers/bench/report/table.ts";
import { transferSection, transferTable } from "../../helpers/bench/report/transfer-table.ts";
import { transferRatios } from "../../helpers/bench/transfer/result.ts";
import { orderSpans, waterfall } from "../../helpers/bench/report/waterfall.ts";
import { line } from "../../helpers/bench/shell.ts";

const key = { system: "dmigrate", workload: "redis-64mb", link: "unlimited", sitting: "2026-01-01T00:00:00.000Z" };
const run = { downtimeMs: 200, totalMs: 1000, bytesOnWire: 64e6, cpuSeconds: 2, commands: ["a$ true"] };

describe("a cell", () => {
  it("has medians and ranges", () => {
    const cell = toCell(key, [run, { ...run, downtimeMs: 300 }, { ...run, downtimeMs: 100 }], []);
    expect(cell).toMatchObject({
      n: 3,
      verified: true,
      downtimeMs: { median: 200, min: 100, max: 300 },
      commands: ["a$ true"],
    });
  });

  it("has no number that some of its runs lack", () => {
    expect(toCell(key, [{ ...run, recoveredMs: 500 }, run], []).recoveredMs).toBeUndefined();
  });

  it("is not verified after a failure, damage, or no run at all", () => {
    expect(toCell(key, [run], ["timed out"])).toMatchObject({ verified: false, errors: ["timed out"] });
    expect(toCell(key, [{ ...run, fault: "3 keys are wrong" }], [])).toMatchObject({ verified: false });
    expect(toCell(key, [], []).verified).toBe(false);
  });
});

describe("the table of transfers", () => {
  const samples = {
    bulk: { tar: [3_000], rsync: [2_000, 4_000], dmigrate: [1_000, 2_000, 1_500], plain: [1_200] },
    urgent: { idle: [1], busy: [4.25] },
  };

  it("compares with the faster of the two, and says what was not measured", () => {
    expect(transferRatios(samples)).toEqual({ bulkVsBest: 2, tlsVsPlain: 0.8, urgentP99VsIdle: 4.25 });
    expect(transferRatios({ bulk: { tar: [3_000], dmigrate: [1_000] } })).toEqual({});
    const rows = transferTable(samples).split("\n");
    expect(rows[2]).toContain("1500 ms (1000 ms–2000 ms)");
    expect(rows[2]).toContain("2.00× as fast");
    expect(rows[4]).toContain("| –");
    expect(rows[6]).toContain("4.25 ms");
  });
});

describe("the part on transfers", () => {
  const machine = { at: "2026-01-05T10:00:00.000Z", cores: 2, memoryGb: 16, kernel: "6.1", versions: {} };
  const report = { machines: { bulk: machine, small: machine }, scale: 1, samples: { bulk: { tar: [1], rsync: [2] } } };

  it("names a sitting once, and says when the sizes were not those of the table", () => {
    const { content } = transferSection(report);
    expect(content).toContain("Measured on 2026-01-05");
    expect(content).not.toContain("of the sizes");
    expect(transferSection({ ...report, scale: 0.1 }).content).toContain("Measured with 0.1 of the sizes");
  });
});

describe("the report", () => {
  const cells: Cell[] = [toCell(key, [run], []), toCell({ ...key, system: "podman" }, [], ["no room | <here>"])];

  it("has a table for each workload and link", () => {
    const table = resultTable(cells);
    expect(table).toContain("#### redis-64mb, unlimited link");
    expect(table).toMatch(/\| dmigrate +\| 200 ms +\| 1000 ms/);
    expect(table).toContain(String.raw`failed: no room \| <here>`);
  });

  it("draws what there is, and says where there is nothing", () => {
    const [downtime] = charts(cells);
    expect(downtime?.name).toBe("downtime-unlimited.svg");
    expect(downtime?.svg).toContain("failed");
    expect(downtime?.svg).not.toMatch(/NaN|undefined|Infinity/);
    expect(charts([toCell(key, [], ["all failed"])])).toEqual([]);
  });

  it("escapes what it draws", () => {
    const value = { median: 1, min: 1, max: 1 };
    const svg = barChart({
      title: "<a> & b",
      groups: [{ title: "g", bars: [{ label: "<x>", isOurs: true, value }] }],
      format: String,
    });
    expect(svg).toContain("&lt;a&gt; &amp; b");
    expect(svg).not.toContain("<x>");
  });

  it("replaces its own section only", () => {
    const { begin, end } = markers("bench");
    const before = `# T\n${begin}\nold\n${end}\nrest`;
    const once = replaceSection(before, "bench", "new\n");
    expect(once).toBe(`# T\n${begin}\n\nnew\n\n${end}\nrest`);
    expect(replaceSection(once, "bench", "new")).toBe(once);
    expect(() => replaceSection("no markers", "bench", "new")).toThrow("there is no section");
  });
});

describe("a waterfall", () => {
  const span = (spanId: string, parentSpanId: string, startMs: number, endMs: number, name = spanId) => ({
    service: "dmigrate-planner",
    name,
    spanId,
    parentSpanId,
    startMs,
    endMs,
  });
  const spans = [
    span("child", "root", 20, 30),
    span("root", "elsewhere", 0, 100),
    span("early", "root", 10, 15),
    span("down", "root", 20, 60, "downtime"),
  ];

  it("puts children below their parents, in order", () => {
    expect(orderSpans(spans).map(({ span: { spanId }, depth }) => [spanId, depth])).toEqual([
      ["root", 0],
      ["early", 1],
      ["child", 1],
      ["down", 1],
    ]);
  });

  it("shows what is long enough and within the window", () => {
    const svg = waterfall(spans, { title: "t", leastMs: 6, window: { startMs: 18, endMs: 70 } });
    expect(svg).toContain("planner: child");
    expect(svg).not.toContain("planner: early");
    expect(svg).not.toMatch(/NaN|undefined|Infinity/);
    expect(() => waterfall([], { title: "t", leastMs: 0 })).toThrow("empty");
  });
});

describe("options and commands", () => {
  it("are chosen by name", () => {
    expect(choose("--x", ["a", "b"], String)).toEqual(["a", "b"]);
    expect(choose("--x", ["a", "b"], String, "b")).toEqual(["b"]);
    expect(() => choose("--x", ["a", "b"], String, "c")).toThrow("--x: no c; there are a, b");
  });

  it("are quoted for a shell where they must be", () => {
    expect(line("redis-server", "--save", "", "it's")).toBe(`redis-server --save '' 'it'\\''s'`);
  });
});
