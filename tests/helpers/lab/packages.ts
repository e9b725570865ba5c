/** Debian packages the lab needs on the machine itself: installed when missing, with root; else the user is told which. */
import { existsSync } from "node:fs";

import type { LabContext } from "./context.ts";
import { findProgram, run } from "./processes.ts";

const installTimeoutMs = 600_000;

/** Makes sure that a program is there, by installing the packages that carry it. */
export async function ensureProgram(context: LabContext, program: string, packages: readonly string[]): Promise<void> {
  if (findProgram(program)) return;
  const command = `apt-get install --no-install-recommends ${packages.join(" ")}`;
  if (!findProgram("apt-get")) throw new Error(`${program} is missing; install it (on Debian or Ubuntu: ${command})`);
  if (process.getuid?.() !== 0) throw new Error(`${program} is missing; run as root: ${command}`);
  context.log(`${program} is missing: ${command}`);
  const options = {
    signal: context.signal,
    timeoutMs: installTimeoutMs,
    env: { DEBIAN_FRONTEND: "noninteractive" },
  };
  await run("apt-get", ["-q", "update"], options);
  await run("apt-get", ["-q", "-y", "install", "--no-install-recommends", ...packages], options);
  if (!findProgram(program)) throw new Error(`${program} is still missing after: ${command}`);
}

/** Whether systemd runs this machine: a freshly installed service is then started by its package. */
export function systemdRuns(): boolean {
  return existsSync("/run/systemd/system");
}
