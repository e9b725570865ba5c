/** Runs the CLI as a user does: a process of its own. */
import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

const cli = fileURLToPath(new URL("../../services/cli/main.ts", import.meta.url));

export interface CliResult {
  exitCode: number;
  stdout: string;
  stderr: string;
}

/** Runs `dmigrate <args>` against this planner. Output that is inherited or ignored is not in the result. */
export async function runCli(
  planner: { url: string; token: string },
  args: readonly string[],
  options: { stdout?: "pipe" | "inherit" | "ignore"; stderr?: "pipe" | "inherit" } = {},
): Promise<CliResult> {
  const { stdout = "pipe", stderr = "inherit" } = options;
  const child = spawn(process.execPath, [cli, ...args], {
    stdio: ["ignore", stdout, stderr],
    env: { ...process.env, DMIGRATE_PLANNER: planner.url, DMIGRATE_TOKEN: planner.token },
  });
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code) => resolve(code ?? 128));
  });
  const [exitCode, out, err] = await Promise.all([
    ended,
    child.stdout === null ? "" : text(child.stdout),
    child.stderr === null ? "" : text(child.stderr),
  ]);
  return { exitCode, stdout: out, stderr: err };
}
