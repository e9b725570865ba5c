/** Lists of processors or memory nodes, as the kernel and `--cpuset-cpus` write them: `0-3,8`. Pure. */

/** The kernel and Docker know no higher ones. */
const highest = 8191;

/** The numbers, ascending; undefined for what is no such list. */
export function parseCpuList(text: string): number[] | undefined {
  const numbers = new Set<number>();
  for (const part of text.trim().split(",").filter(Boolean)) {
    const [, from, to = from] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim()) ?? [];
    const [first, last] = [Number(from), Number(to)];
    if (from === undefined || first > last || last > highest) return undefined;
    for (let number = first; number <= last; number++) numbers.add(number);
  }
  return [...numbers].sort((a, b) => a - b);
}

/** Of ascending numbers. */
export function formatCpuList(numbers: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const number of numbers) {
    const range = ranges.at(-1);
    if (range?.[1] === number - 1) range[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([first, last]) => (first === last ? String(first) : `${first}-${last}`)).join(",");
}
