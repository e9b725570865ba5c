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

/**
 * Whether CRIU has failed since data arrived on a TCP connection while it read what was there (soccr/soccr.c). We let it
 * skip its lock of the network, which costs more than a second attempt now and then: the connections are closed anyway.
 */
export const metLateData = (error: string): boolean => /recv failed \(\d+, want \d+\)/.test(error);
