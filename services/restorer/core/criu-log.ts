/** Reads CRIU's logs. Pure. */

/** The first error of a CRIU log, without its time stamp; undefined when there is none. At most 300 characters. */
export function firstCriuError(log: string): string | undefined {
  const line = /^.*\bError\b.*$/m.exec(log)?.[0];
  return line
    ?.replace(/^\(\d+\.\d+\)\s*/, "")
    .trim()
    .slice(0, 300);
}
