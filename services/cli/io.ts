/** What a command may touch of the world; tests pass their own. */
import type { Problem } from "../shared/contracts/common.ts";
import { statusOf, type DmigrateError } from "../shared/errors.ts";

export interface Output {
  write(text: string): unknown;
  readonly isTTY?: boolean;
  readonly columns?: number;
}

export interface CliIo {
  /** Results, and nothing else. */
  readonly stdout: Output;
  /** Progress, warnings, errors. */
  readonly stderr: Output;
  readonly env: NodeJS.ProcessEnv;
  /** Aborts at Ctrl-C, for commands that end in order then. */
  interrupted(): AbortSignal;
}

/** The one JSON value of a command that was given --json. */
export const printJson = (io: CliIo, value: unknown): void => void io.stdout.write(`${JSON.stringify(value)}\n`);

/** An error for people, or with --json as a problem (RFC 9457), on stderr. */
export function printError(io: CliIo, error: DmigrateError, asJson: boolean): void {
  if (asJson) {
    io.stderr.write(`${JSON.stringify(toProblem(error))}\n`);
    return;
  }
  if (error.reasons.length === 0) {
    io.stderr.write(`dmigrate: ${error.message}\n`);
    return;
  }
  // The message lists them as well, in one line; here each gets its own.
  const [what = error.message] = error.message.split(`: ${error.reasons[0]?.message ?? ""}`);
  const reasons = error.reasons.map(({ code, message }) => `  - ${message} [${code}]\n`);
  io.stderr.write(`dmigrate: ${what}:\n${reasons.join("")}`);
}

function toProblem(error: DmigrateError): Problem {
  return {
    type: `urn:dmigrate:problem:${error.code}`,
    title: error.code.replaceAll("-", " "),
    status: statusOf[error.code],
    detail: error.message,
    code: error.code,
    ...(error.fields.length > 0 && { errors: error.fields }),
    ...(error.reasons.length > 0 && { reasons: error.reasons }),
  };
}
