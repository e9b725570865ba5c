/**
 * Processes of this machine: running commands, and telling whether a process written down earlier is still that process.
 * A pid alone proves nothing, since pids are used again; a pid with its start time does.
 */
import { execFile, type ExecFileException } from "node:child_process";
import { accessSync, constants, readdirSync, readFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** Directories that hold system programs and may be missing from a user's PATH. */
const systemDirectories = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/** PATH with the system directories appended. */
export const systemPath = [...(process.env["PATH"] ?? "").split(delimiter), ...systemDirectories].join(delimiter);

export interface RunOptions {
  readonly signal?: AbortSignal | undefined;
  readonly timeoutMs?: number;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a program without a shell and returns its stdout; the error of a failed one carries the end of its stderr. */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      args,
      {
        env: { ...process.env, PATH: systemPath, ...options.env },
        maxBuffer: 64 * 1024 * 1024,
        ...(options.signal && { signal: options.signal }),
        ...(options.timeoutMs !== undefined && { timeout: options.timeoutMs }),
      },
      (error: ExecFileException | null, stdout: string, stderr: string) => {
        if (!error) resolve(stdout);
        else
          reject(
            new Error(`${program} ${args.join(" ")} failed: ${lastLines(stderr) || error.message}`, { cause: error }),
          );
      },
    );
    child.stdin?.end();
  });
}

/** The end of a long output, where programs say what went wrong. */
export function lastLines(text: string, count = 15): string {
  return text.trimEnd().split("\n").slice(-count).join("\n");
}

/** The full path of a program, or undefined where there is none. */
export function findProgram(name: string): string | undefined {
  for (const directory of systemPath.split(delimiter)) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not here; the next directory may have it.
    }
  }
  return undefined;
}

/** One process at one time: a later process with the same pid has another start time. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly startTime: string;
}

/** Reads when a process started (clock ticks since boot), or undefined when there is no such process or it is a zombie. */
export function startTimeOf(pid: number): string | undefined {
  const stat = readProc(pid, "stat");
  // The name, in parentheses, may hold blanks: count fields from its end. State is the 3rd field, the start time the 22nd.
  const fields = stat?.slice(stat.lastIndexOf(")") + 2).split(" ");
  if (!fields || fields[0] === "Z" || fields[0] === "X") return undefined;
  return fields[19];
}

/** This process. */
export function ownIdentity(): ProcessIdentity {
  return { pid: process.pid, startTime: startTimeOf(process.pid) ?? "0" };
}

/** Whether that very process is still there. */
export function isAlive({ pid, startTime }: ProcessIdentity): boolean {
  return startTimeOf(pid) === startTime;
}

/** The command line of a process, or undefined when there is none. */
export function commandLineOf(pid: number): string[] | undefined {
  return readProc(pid, "cmdline")?.split("\0").slice(0, -1);
}

/** All processes whose command line satisfies a condition. */
export function findProcesses(matches: (commandLine: string[], pid: number) => boolean): ProcessIdentity[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .flatMap((entry) => {
      const pid = Number(entry);
      const commandLine = commandLineOf(pid);
      const startTime = startTimeOf(pid);
      return commandLine && startTime !== undefined && matches(commandLine, pid) ? [{ pid, startTime }] : [];
    });
}

/** Asks a process to end, waits, and kills it when it has not gone by then. Only that very process is ever signalled. */
export async function endProcess(target: ProcessIdentity, graceMs: number): Promise<void> {
  for (const [signal, waitMs] of [["SIGTERM", graceMs] as const, ["SIGKILL", 5_000] as const]) {
    if (!isAlive(target)) return;
    try {
      process.kill(target.pid, signal);
    } catch {
      return;
    }
    const deadline = performance.now() + waitMs;
    while (isAlive(target) && performance.now() < deadline) await sleep(25);
  }
}

/** Reads a file of a process, or undefined when there is no such process. */
export function readProc(pid: number, file: string): string | undefined {
  try {
    return readFileSync(`/proc/${String(pid)}/${file}`, "utf8");
  } catch {
    return undefined;
  }
}
