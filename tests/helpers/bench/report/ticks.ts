/** Round numbers along an axis. Pure. */

/** About six round numbers from 0 up to a length. */
export function ticks(length: number): number[] {
  const rough = length / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough) ?? 10 * power;
  return Array.from({ length: Math.floor(length / step + 1e-9) + 1 }, (_, at) => Number((at * step).toPrecision(12)));
}
