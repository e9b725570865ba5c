import { describe, expect, it } from "vitest";
import type { Machine } from "../../helpers/bench/machine.ts";
import { addCell, parseMatrix, type Matrix } from "../../helpers/bench/report/matrix.ts";
import { migrationsSection } from "../../helpers/bench/report/migrations.ts";
import type { Cell } from "../../helpers/bench/report/result.ts";
import { describeSittings } from "../../helpers/bench/report/sittings.ts";
import { marginTable, targetTable } from "../../helpers/bench/report/targets.ts";

const machine = (at: string, cores = 2): Machine => ({
  at,
  cores,
  memoryGb: 16,
  kernel: "6.1",
  versions: { docker: "26.1", criu: "4.2" },
});
const [monday, tuesday] = [machine("2026-01-05T10:00:00.000Z"), machine("2026-01-06T10:00:00.000Z")];
const order = {
  systems: ["podman", "criu-lazy", "dmigrate"],
  workloads: ["redis-64mb", "redis-1gb"],
  links: ["unlimited"],
};
const empty: Matrix = { sittings: [], runs: [] };

const cell = (
  system: string,
  workload: string,
  [downtimeMs, totalMs]: [number, number],
  more: Partial<Cell> = {},
): Cell => {
  const summary = (median: number) => ({ median, min: median, max: median });
  return {
    system,
    workload,
    link: "unlimited",
    sitting: monday.at,
    n: 3,
    downtimeMs: summary(downtimeMs),
    totalMs: summary(totalMs),
    verified: true,
    errors: [],
    commands: [],
    ...more,
  };
};

/** The cells of one row of a Markdown table, by its first. */
function row(table: string, first: string): string[] {
  const line = table.split("\n").find((each) => each.startsWith(`| ${first}`));
  return (line ?? "")
    .split("|")
    .slice(1, -1)
    .map((text) => text.trim());
}

describe("the matrix", () => {
  it("keeps cells of other sittings, and replaces the same cell", () => {
    const first = [cell("dmigrate", "redis-1gb", [9, 9]), cell("podman", "redis-1gb", [8, 8])].reduce(
      (matrix, each) => addCell(matrix, monday, each, order),
      empty,
    );
    const again = cell("dmigrate", "redis-1gb", [7, 7], { sitting: tuesday.at });
    const both = addCell(first, tuesday, again, order);
    expect(both.runs.map(({ system, sitting }) => [system, sitting])).toEqual([
      ["podman", monday.at],
      ["dmigrate", tuesday.at],
    ]);
    expect(both.sittings).toEqual([monday, tuesday]);
  });

  it("forgets a sitting of which no cell is left", () => {
    const before = addCell(empty, monday, cell("dmigrate", "redis-1gb", [9, 9]), order);
    const after = addCell(before, tuesday, cell("dmigrate", "redis-1gb", [7, 7], { sitting: tuesday.at }), order);
    expect(after.sittings).toEqual([tuesday]);
  });

  it("is in the order of the lists, whatever came first; what is in none comes last", () => {
    const names = (["gone", "dmigrate", "podman"] as const).flatMap((system) =>
      ["redis-1gb", "redis-64mb"].map((workload) => cell(system, workload, [1, 1])),
    );
    const { runs } = names.reduce((matrix, each) => addCell(matrix, monday, each, order), empty);
    expect(runs.map(({ workload, system }) => `${workload} ${system}`)).toEqual([
      "redis-64mb podman",
      "redis-64mb dmigrate",
      "redis-64mb gone",
      "redis-1gb podman",
      "redis-1gb dmigrate",
      "redis-1gb gone",
    ]);
  });

  it("comes back from its JSON; another file is refused by name", () => {
    const matrix = addCell(empty, monday, cell("dmigrate", "redis-1gb", [9, 9]), order);
    expect(parseMatrix(JSON.stringify(matrix), "x.json")).toEqual(matrix);
    expect(() => parseMatrix("{", "x.json")).toThrow("x.json is not JSON");
    expect(() => parseMatrix('{"machine":{},"runs":[]}', "x.json")).toThrow("x.json is not what");
  });
});

describe("the targets", () => {
  const runs = [
    cell("podman", "redis-64mb", [900, 1000]),
    cell("dmigrate", "redis-64mb", [400, 1100]),
    cell("podman", "redis-1gb", [9000, 9500]),
    cell("criu-lazy", "redis-1gb", [1000, 4000]),
    cell("dmigrate", "redis-1gb", [450, 3800]),
  ];
  const matrix: Matrix = { sittings: [monday], runs };

  it("are held against the best peer, and a miss is a miss", () => {
    const table = targetTable(matrix);
    expect(row(table, "downtime of 1 GB against the best").slice(1)).toEqual([
      "450 ms",
      "criu-lazy 1000 ms",
      "**missed**: 55 % less",
    ]);
    expect(row(table, "total time of 1 GB").slice(1)).toEqual([
      "3800 ms",
      "criu-lazy 4000 ms",
      "**missed**: 5.0 % less",
    ]);
    expect(row(table, "downtime of 1 GB against its own").slice(1)).toEqual([
      "450 ms",
      "redis-64mb 400 ms",
      "met: 13 % more",
    ]);
  });

  it("do not count a peer that failed, and are not met by what failed or is not there", () => {
    const failed = runs.map((each) =>
      each.workload === "redis-1gb" && each.system !== "podman" ? { ...each, verified: false } : each,
    );
    const table = targetTable({ sittings: [monday], runs: failed });
    expect(row(table, "total time of 1 GB").slice(1)).toEqual(["failed", "podman 9500 ms", "**nothing to compare**"]);
    expect(targetTable(empty)).not.toMatch(/\bmet\b/);
  });

  it("give a margin for each cell, worse ones too, with a star where sittings differ", () => {
    const table = marginTable({
      sittings: [monday, tuesday],
      runs: [...runs.slice(0, 4), cell("dmigrate", "redis-1gb", [450, 3800], { sitting: tuesday.at })],
    });
    expect(row(table, "redis-64mb, unlimited").slice(1)).toEqual([
      "400 ms",
      "podman 900 ms",
      "56 % less",
      "1100 ms",
      "podman 1000 ms",
      "10 % more",
    ]);
    expect(row(table, "redis-1gb, unlimited")[2]).toBe(String.raw`criu-lazy 1000 ms\*`);
  });
});

describe("the part on migrations", () => {
  it("says what machines there were, and folds the many numbers", () => {
    const runs = [cell("podman", "redis-64mb", [900, 1000]), cell("dmigrate", "redis-64mb", [400, 1100])];
    const { content, pictures } = migrationsSection({ sittings: [monday], runs });
    expect(content).toContain("2 cores and 16 GB, Linux 6.1, Docker 26.1, CRIU 4.2");
    expect(content.match(/<details>/g)).toHaveLength(1);
    expect(content).not.toContain("another sitting");
    expect(pictures.map(({ name }) => name)).toEqual(["downtime-unlimited.svg", "total-unlimited.svg"]);
  });

  it("names each kind of machine once, with its days", () => {
    const text = describeSittings([monday, tuesday, machine("2026-01-07T10:00:00.000Z", 8)]);
    expect(text).toContain("in 2 sittings on 2026-01-05, 2026-01-06:");
    expect(text).toContain(
      "Measured on 2026-01-07: both nodes, the client and the planner on one machine with 8 cores",
    );
  });
});
