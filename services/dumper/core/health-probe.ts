/** Tells a health check's process from one that a person started with `docker exec`. */

export interface ExecCommand {
  entrypoint: string;
  arguments: readonly string[];
}

/** True when the command is the container's own health check: it comes and goes, and runs at the destination again. */
export function isHealthProbe(exec: ExecCommand, test: readonly string[] | undefined): boolean {
  const [kind, ...rest] = test ?? [];
  const command = [exec.entrypoint, ...exec.arguments];
  if (kind === "CMD") return same(command, rest);
  // The shell may be another than /bin/sh (the image's SHELL); the script is its last argument.
  return kind === "CMD-SHELL" && rest.length === 1 && command.length > 1 && command.at(-1) === rest[0];
}

const same = (a: readonly string[], b: readonly string[]): boolean =>
  a.length === b.length && a.every((item, index) => item === b[index]);
