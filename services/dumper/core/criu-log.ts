/** Finds in what CRIU says why it failed. */

/** CRIU says this at every start on machines without CAP_SYS_RESOURCE, and goes on. */
const harmless = /rlimit: Can't setup RLIMIT_NOFILE/;

/** The first error in a log of CRIU, without time and source line; undefined when it names none. */
export function firstCriuError(log: string): string | undefined {
  for (const line of log.split("\n")) {
    const text = /Error \([^)]*\): (.*)$/.exec(line)?.[1];
    if (text !== undefined && !harmless.test(text)) return text.trim();
  }
  return undefined;
}
