/**
 * The benchmark's JSON: cells measured in one sitting or in several, and the machine of each sitting. Pure.
 */
import { z } from "zod";

import type { Machine } from "../machine.ts";
import type { Cell } from "./result.ts";

export interface Matrix {
  /** Those that measured a cell which is still here, in the order of their begin. */
  readonly sittings: readonly Machine[];
  readonly runs: readonly Cell[];
}

/** Names in the order in which tables and pictures show them. */
export interface CellOrder {
  readonly systems: readonly string[];
  readonly workloads: readonly string[];
  readonly links: readonly string[];
}

const keyOf = ({ system, workload, link }: Cell): string => `${link} ${workload} ${system}`;

/** Adds a cell that this machine measured. It replaces the one of the same system, workload and link. */
export function addCell({ sittings, runs }: Matrix, machine: Machine, cell: Cell, order: CellOrder): Matrix {
  const others = runs.filter((each) => keyOf(each) !== keyOf(cell));
  const all = [...others, cell].toSorted((one, other) => compare(placeOf(one, order), placeOf(other, order)));
  const used = new Set(all.map(({ sitting }) => sitting));
  const machines = [...sittings.filter(({ at }) => at !== machine.at), machine];
  return {
    sittings: machines.filter(({ at }) => used.has(at)).toSorted((one, other) => one.at.localeCompare(other.at)),
    runs: all,
  };
}

/** What is not in the order (any more) comes last. */
function placeOf({ link, workload, system }: Cell, { links, workloads, systems }: CellOrder): number[] {
  const place = (names: readonly string[], name: string): number => names.indexOf(name) >>> 0;
  return [place(links, link), place(workloads, workload), place(systems, system)];
}

function compare(one: readonly number[], other: readonly number[]): number {
  const at = one.findIndex((value, index) => value !== other[index]);
  return at < 0 ? 0 : (one[at] ?? 0) - (other[at] ?? 0);
}

/** As much as tells one of our files from another. */
const shape = z.object({
  sittings: z.array(z.looseObject({ at: z.string() })),
  runs: z.array(
    z.looseObject({ system: z.string(), workload: z.string(), link: z.string(), sitting: z.string(), n: z.number() }),
  ),
});

/** Takes a file's text; `name` is the file's, for the error when it is not of this benchmark. */
export function parseMatrix(text: string, name: string): Matrix {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new Error(`${name} is not JSON; name another file, or remove it`, { cause });
  }
  const parsed = shape.safeParse(value);
  if (!parsed.success)
    throw new Error(`${name} is not what \`npm run bench -- --json\` writes; name another file, or remove it`);
  return parsed.data as unknown as Matrix;
}
