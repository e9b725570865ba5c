/** Runs a program to its end: bounded output, bounded time, an owner. */
import { spawn } from "node:child_process";
import { DmigrateError } from "../errors.ts";

export interface RunOptions {
  signal?: AbortSignal;
  timeoutMs?: number;
  input?: string;
  /** What the program sees as its own name; `program` unless told. */
  argv0?: string;
}

export interface RunResult {
  exitCode: number;
  stdout: string;
  /** All that it wrote to stdout, however much of it is kept. */
  stdoutBytes: number;
  stderr: string;
}

const maxOutputBytes = 1 << 20;

/**
 * Resolves with the exit code, whatever it is; output beyond 1 MiB is dropped. Rejects with `unavailable` when the
 * program cannot be started, and with `timeout` when it was killed after `timeoutMs` (30 s unless told).
 */
export function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<RunResult> {
  const { timeoutMs = 30_000, signal, input, argv0 } = options;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      stdio: ["pipe", "pipe", "pipe"],
      ...(signal && { signal }),
      ...(argv0 !== undefined && { argv0 }),
    });
    const stdout = collect(child.stdout);
    const stderr = collect(child.stderr);
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill("SIGKILL");
    }, timeoutMs);
    child.once("error", (cause) => {
      clearTimeout(timer);
      const code = signal?.aborted === true ? "cancelled" : "unavailable";
      reject(new DmigrateError(code, `${program} could not be run: ${cause.message}`, { cause }));
    });
    child.once("close", (exitCode, by) => {
      clearTimeout(timer);
      if (timedOut)
        reject(new DmigrateError("timeout", `${program} ${args.join(" ")} did not end within ${timeoutMs} ms`));
      else
        resolve({
          exitCode: exitCode ?? 128,
          stdout: stdout.text(),
          stdoutBytes: stdout.bytes(),
          stderr: by === null ? stderr.text() : `${stderr.text()}(ended by ${by})`,
        });
    });
    // A program that ends without reading its input is no failure of ours.
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
  });
}

function collect(stream: NodeJS.ReadableStream): { text: () => string; bytes: () => number } {
  const chunks: Buffer[] = [];
  let bytes = 0;
  stream.on("data", (chunk: Buffer) => {
    if (bytes < maxOutputBytes) chunks.push(chunk);
    bytes += chunk.length;
  });
  return { text: () => Buffer.concat(chunks).toString("utf8", 0, maxOutputBytes), bytes: () => bytes };
}
