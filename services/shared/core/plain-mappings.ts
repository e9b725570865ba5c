/** Which mappings of a process hold memory of its own, and no code: what CRIU never changes while it dumps the process. */

const pageBytes = 4096;

/** Page numbers: addresses divided by 4096. */
export interface PlainMapping {
  page: number;
  /** Past the last page. */
  end: number;
}

/** The private, anonymous mappings without code in /proc/PID/maps (proc_pid_maps(5)). */
export function plainMappings(maps: string): PlainMapping[] {
  return [...maps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) [r-][w-]-p \S+ \S+ 0(?:\s+\[heap\])?\s*$/gm)].map(
    ([, start = "", end = ""]) => ({
      page: Number.parseInt(start, 16) / pageBytes,
      end: Number.parseInt(end, 16) / pageBytes,
    }),
  );
}
