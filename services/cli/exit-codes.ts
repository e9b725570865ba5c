/** What the command's exit code says. Scripts rely on these; --help lists them. */
import type { DmigrateError, ErrorCode } from "../shared/errors.ts";

export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  refused: 3,
  conflict: 4,
  unreachable: 5,
  interrupted: 130,
} as const;
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];

export const exitCodeHelp = `Exit codes:
  0    done
  1    failed: the migration was rolled back or could not be completed, or a check of doctor is not ok
  2    bad usage: an argument, a setting or a token is wrong
  3    refused: the container cannot be moved as asked; every reason is listed
  4    not found, or in conflict with what is under way
  5    the planner or a node cannot be reached, or answers wrongly
  130  interrupted; a migration that was started goes on`;

const ofError: Readonly<Record<ErrorCode, ExitCode>> = {
  "invalid-request": exitCodes.usage,
  "body-too-large": exitCodes.usage,
  unauthorized: exitCodes.usage,
  "not-migratable": exitCodes.refused,
  "not-found": exitCodes.conflict,
  conflict: exitCodes.conflict,
  upstream: exitCodes.unreachable,
  unavailable: exitCodes.unreachable,
  timeout: exitCodes.unreachable,
  cancelled: exitCodes.failed,
  "checkpoint-failed": exitCodes.failed,
  "transfer-failed": exitCodes.failed,
  "restore-failed": exitCodes.failed,
  internal: exitCodes.failed,
};

export const exitCodeOf = ({ code }: DmigrateError): ExitCode => ofError[code];
