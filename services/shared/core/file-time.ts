/** A time of a file since 1970, as two numbers: most are never asked for as one. Before 1970 `nanos` still count forward. */
export interface FileTime {
  seconds: number;
  /** Below 10^9. */
  nanos: number;
}

const second = 1_000_000_000n;

export function timeOf(ns: bigint): FileTime {
  const nanos = ((ns % second) + second) % second;
  return { seconds: Number((ns - nanos) / second), nanos: Number(nanos) };
}
