/** Ratios of medians, left out where one side was not measured. Pure. */
import { medianOf } from "./statistics.ts";

/** The median of the first over that of the second; undefined when either has no values. */
export function ratio(of: readonly number[], to: readonly number[]): number | undefined {
  return of.length === 0 || to.length === 0 ? undefined : medianOf(of) / medianOf(to);
}

/** The object without what is undefined, and numbers with four digits: what is not known is not there. */
export function known(values: Readonly<Record<string, number | undefined>>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, Number(value.toPrecision(4))]],
    ),
  );
}
