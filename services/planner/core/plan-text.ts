/** Numbers as a plan's sentences say them. */

export const count = (n: number, noun: string): string => `${n} ${noun}${n === 1 ? "" : "s"}`;

export const percent = (share: number | undefined): string => `${(share ?? 0).toFixed(0)} %`;

/** Bytes per second for people: `1.2 Gbit/s`. */
export function rate(bytesPerSecond: number): string {
  const mbit = bytesPerSecond / 125_000;
  if (mbit >= 1000) return `${Number((mbit / 1000).toFixed(1))} Gbit/s`;
  return `${Number(mbit.toFixed(mbit < 10 ? 1 : 0))} Mbit/s`;
}

/** Bytes for people: `1.5 GiB`. */
export function size(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number(value.toFixed(value < 10 ? 1 : 0))} ${units[unit] ?? "B"}`;
}
