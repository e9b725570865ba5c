/** What CRIU, runc and Docker say of a failure, cut down to what a person needs. Pure. */

/** The first error of a CRIU log, without its time stamp; undefined when there is none. At most 300 characters. */
export function firstCriuError(log: string): string | undefined {
  const line = /^.*\bError\b.*$/m.exec(log)?.[0];
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
