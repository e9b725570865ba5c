/** What the numbers were measured on. */
import { cpus, totalmem } from "node:os";

import type { BenchLab } from "./bench-lab.ts";

export interface Machine {
  readonly at: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly kernel: string;
  readonly versions: Readonly<Record<string, string>>;
}

export async function describeMachine({ a }: BenchLab): Promise<Machine> {
  const ask = (command: string): Promise<string> => a.run(`${command} | head -n 1`, { quiet: true });
  const [kernel, docker, runc, criu, podman] = await Promise.all([
    // The release alone: what a builder appends to it says who the builder is.
    ask("uname -r | sed 's/[^0-9.].*//'"),
    ask("docker version -f '{{.Server.Version}}'"),
    ask("runc --version | sed 's/runc version //'"),
    ask("criu --version | sed 's/Version: //'"),
    ask("podman --version | sed 's/podman version //'"),
  ]);
  return {
    at: new Date().toISOString(),
    cores: cpus().length,
    memoryGb: Math.round(totalmem() / 1e9),
    kernel,
    versions: { docker, runc, criu, podman },
  };
}
