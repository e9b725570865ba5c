/** What Dmigrate is to reach, and by how much each cell beats or misses the best peer. Pure. */
import type { Matrix } from "./matrix.ts";
import type { Cell } from "./result.ts";
import { duration, table } from "./table.ts";

type Measure = "downtimeMs" | "totalMs";

/** The mode that a user gets who chooses none: the one that is held against the peers. */
const ours = "dmigrate";

interface Side {
  readonly cell: Cell;
  readonly ms: number;
}

/** A cell's median; undefined when the cell is not there, or not all of its runs went right. */
function sideOf(cell: Cell | undefined, measure: Measure): Side | undefined {
  const ms = cell?.verified === true ? cell[measure]?.median : undefined;
  return cell === undefined || ms === undefined ? undefined : { cell, ms };
}

/** The peer with the lowest median among these cells, of those whose data was right. */
const bestPeer = (cells: readonly Cell[], measure: Measure): Side | undefined =>
  cells
    .filter(({ system }) => !system.startsWith(ours))
    .flatMap((cell) => sideOf(cell, measure) ?? [])
    .toSorted((one, other) => one.ms - other.ms)[0];

const percent = (share: number): string => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

/** "30 % less", "12 % more": of the first against the second. */
const against = (ms: number, than: number): string =>
  ms <= than ? `${percent(1 - ms / than)} less` : `${percent(ms / than - 1)} more`;

interface Target {
  readonly title: string;
  readonly measure: Measure;
  /** Of ours over what it is held against, at most. */
  readonly most: number;
  readonly workload: string;
  /** Another workload of ours; the best peer with the same workload when absent. */
  readonly reference?: string;
}

/** What the project has set itself; the paper's margins (17.05 % of downtime, 24.33 % of total time) are the floor in every cell. */
const targets: readonly Target[] = [
  {
    title: "downtime of 1 GB against the best peer's: at most 0.3 of it",
    measure: "downtimeMs",
    most: 0.3,
    workload: "redis-1gb",
  },
  {
    title: "total time of 1 GB against the best peer's: at most 0.6 of it",
    measure: "totalMs",
    most: 0.6,
    workload: "redis-1gb",
  },
  {
    title: "downtime of 1 GB against its own of 64 MB: at most 1.25 of it",
    measure: "downtimeMs",
    most: 1.25,
    workload: "redis-1gb",
    reference: "redis-64mb",
  },
];

/** The targets over the unlimited link, each met or missed. What was not measured, or failed, is not met. */
export function targetTable({ runs }: Matrix): string {
  const of = (workload: string): Cell[] =>
    runs.filter((cell) => cell.workload === workload && cell.link === "unlimited");
  const find = (workload: string): Cell | undefined => of(workload).find(({ system }) => system === ours);
  return table(
    ["target", "Dmigrate", "against", "result"],
    targets.map(({ title, measure, most, workload, reference }) => {
      const mine = find(workload);
      const own = sideOf(mine, measure);
      const other = reference === undefined ? bestPeer(of(workload), measure) : sideOf(find(reference), measure);
      return [
        title,
        ...compare(mine, own, other, (ours, theirs) => (ours <= theirs * most ? "met: " : "**missed**: ")),
      ];
    }),
  );
}

/** Three columns: ours, what it is held against, and the result. */
function compare(
  mine: Cell | undefined,
  own: Side | undefined,
  other: Side | undefined,
  verdict: (ours: number, theirs: number) => string = () => "",
): string[] {
  const left = own === undefined ? (mine === undefined ? "not measured" : "failed") : duration(own.ms);
  const right = other === undefined ? "not measured, or failed" : nameAndTime(other, mine);
  const known = own !== undefined && other !== undefined;
  return [left, right, known ? `${verdict(own.ms, other.ms)}${against(own.ms, other.ms)}` : "**nothing to compare**"];
}

/** The star says that the two were not measured in one sitting, so not interleaved. */
const nameAndTime = ({ cell, ms }: Side, mine: Cell | undefined): string =>
  `${cell.system === ours ? cell.workload : cell.system} ${duration(ms)}${
    mine !== undefined && mine.sitting !== cell.sitting ? star : ""
  }`;

const star = "\\*";
/** What to say below tables that have a star in them. */
export const starNote = (markdown: string): string[] =>
  markdown.includes(star) ? [`${star} measured in another sitting, so not in turns with it.`] : [];

/** For each workload over each link: Dmigrate against the best peer, in downtime and in total time. */
export function marginTable({ runs }: Matrix): string {
  const groups = [...Map.groupBy(runs, ({ workload, link }) => `${workload}, ${link}`)];
  return table(
    ["workload, link", "downtime", "best peer", "margin", "total", "best peer", "margin"],
    groups.map(([title, cells]) => {
      const mine = cells.find(({ system }) => system === ours);
      const half = (measure: Measure): string[] => compare(mine, sideOf(mine, measure), bestPeer(cells, measure));
      return [title, ...half("downtimeMs"), ...half("totalMs")];
    }),
  );
}
