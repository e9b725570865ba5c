/**
 * The one error type that crosses a module boundary, and its one map to HTTP.
 * Adapters translate foreign errors into it once; routes render it once, as RFC 9457 problem+json.
 */
import { constants } from "node:os";

/** Every kind of failure a caller can tell apart, and the HTTP status it is answered with. */
export const statusOf = {
  "invalid-request": 400,
  unauthorized: 401,
  "not-found": 404,
  conflict: 409,
  "body-too-large": 413,
  /** The request is well formed, but the container or the node does not allow it; `reasons` says why. */
  "not-migratable": 422,
  cancelled: 409,
  "checkpoint-failed": 500,
  "transfer-failed": 500,
  "restore-failed": 500,
  internal: 500,
  /** Another service, Docker or CRIU answered wrongly or not at all. */
  upstream: 502,
  unavailable: 503,
  timeout: 504,
} as const;

export type ErrorCode = keyof typeof statusOf;

/** One field of a request at fault: where it is, as a dotted path, and what is wrong with it. */
export interface FieldError {
  field: string;
  message: string;
}

/** One reason why a migration is refused: a stable code, and a sentence that says what to do. */
export interface Refusal {
  code: string;
  message: string;
}

export interface ErrorDetails {
  cause?: unknown;
  fields?: FieldError[];
  reasons?: Refusal[];
}

/** An error with a code. `message` says what happened, to what, and what to do, in one line. */
export class DmigrateError extends Error {
  readonly code: ErrorCode;
  readonly fields: FieldError[];
  readonly reasons: Refusal[];

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = "DmigrateError";
    this.code = code;
    this.fields = details.fields ?? [];
    this.reasons = details.reasons ?? [];
  }
}

/** The message of anything thrown, on one line. */
export function messageOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replaceAll(/\s*\n\s*/g, "; ");
}

/** By name; of all of the system's, also those that Node's own errors have no name for. */
const errnos: Readonly<Record<string, number>> = constants.errno;

/**
 * True for an error of Node's own, or a LinuxError, with one of these codes (`ENOENT`, `EPIPE` …). Node names some "Unknown
 * system error" (EDQUOT is one): those are told by their number.
 */
export function hasErrno(error: unknown, ...codes: string[]): boolean {
  if (!(error instanceof Error) || !("code" in error)) return false;
  if (codes.includes(String(error.code))) return true;
  // Node has it negative.
  const errno = "errno" in error && typeof error.errno === "number" ? -error.errno : 0;
  return errno > 0 && codes.some((code) => errnos[code] === errno);
}

/** Wraps anything thrown that is not ours yet; a DmigrateError passes unchanged. */
export function asDmigrateError(error: unknown, code: ErrorCode, context: string): DmigrateError {
  if (error instanceof DmigrateError) return error;
  return new DmigrateError(code, `${context}: ${messageOf(error)}`, { cause: error });
}
