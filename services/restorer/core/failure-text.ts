/** What CRIU, runc and Docker say of a failure, cut down to what a person needs. Pure. */

/** Errors that CRIU logs and then does without: where CAP_SYS_RESOURCE is missing it keeps the limit it has. */
const harmless = /rlimit: Can't setup RLIMIT_NOFILE for self/;

/** The first error of a CRIU log that matters, without its time stamp, at most 300 characters; undefined if none. */
export function firstCriuError(log: string): string | undefined {
  const line = log.split("\n").find((text) => /\bError\b/.test(text) && !harmless.test(text));
  return line
    ?.replace(/^\(\d+\.\d+\)\s*/, "")
    .trim()
    .slice(0, 300);
}

/** What the OCI runtime said, out of what Docker, containerd and its shim put around it. */
export function runtimeFailure(text: string): string {
  const said = /OCI runtime (?:create|start) failed: (.*?)(?:: unknown)?\s*$/s.exec(text)?.[1];
  return (said ?? text).trim();
}
