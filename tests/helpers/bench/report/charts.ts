/** The benchmark's pictures: downtime and total time of every system, a picture for each link. Pure. */
import { barChart } from "./bar-chart.ts";
import type { Cell } from "./result.ts";
import { duration } from "./table.ts";

export interface Picture {
  /** Of the file, without a directory. */
  readonly name: string;
  readonly title: string;
  readonly svg: string;
}

const measures = [
  { key: "downtimeMs", name: "downtime", title: "Downtime as a client sees it" },
  { key: "totalMs", name: "total", title: "From the request to the source released" },
] as const;

export function charts(cells: readonly Cell[]): Picture[] {
  return [...Map.groupBy(cells, ({ link }) => link)].flatMap(([link, ofLink]) =>
    measures.flatMap(({ key, name, title }) => {
      if (ofLink.every((cell) => cell[key] === undefined)) return [];
      const groups = [...Map.groupBy(ofLink, ({ workload }) => workload)].map(([workload, rows]) => ({
        title: workload,
        bars: rows.map((cell) => ({
          label: cell.system,
          isOurs: cell.system.startsWith("dmigrate"),
          value: cell.verified ? cell[key] : undefined,
        })),
      }));
      if (groups.every(({ bars }) => bars.every(({ value }) => value === undefined))) return [];
      const full = `${title}, ${link} link (median, range; logarithmic)`;
      return [{ name: `${name}-${link}.svg`, title: full, svg: barChart({ title: full, groups, format: duration }) }];
    }),
  );
}
