/** Structured logs: one JSON object a line on stderr, so that stdout stays free for results. */
import pino from "pino";

export type Log = pino.Logger;

export const logLevels = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;
export type LogLevel = (typeof logLevels)[number];

/** A logger that names its service in every line. Tokens and secrets never reach the output. */
export function createLog(service: string, level: LogLevel): Log {
  return pino(
    {
      level,
      base: { service },
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: ["token", "secret", "*.token", "*.secret", "headers.authorization"], censor: "[redacted]" },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
