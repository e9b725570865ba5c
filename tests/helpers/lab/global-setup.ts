/** Brings up the one lab that serves all lab tests of a vitest run, and takes it down after them, also when the run is interrupted. */
import { constants } from "node:os";

import type { TestProject } from "vitest/node";

import { startOtlpReceiver } from "../otlp-receiver.ts";
import "./connect.ts";
import { startLab } from "./lab.ts";

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** Called by vitest before the first lab test; what it returns is called after the last. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const interrupted = new AbortController();
  const receiver = await startOtlpReceiver();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${receiver.port}`, OTEL_BSP_SCHEDULE_DELAY: "200" };
  const starting = startLab({ signal: interrupted.signal, env });
  const restoreSignals = takeSignals((signal) => {
    interrupted.abort(new Error(`interrupted by ${signal}`));
    void starting
      .then((lab) => lab.stop())
      .catch(() => undefined)
      .finally(() => process.exit(128 + constants.signals[signal]));
  });
  const lab = await starting;
  try {
    project.provide("lab", lab.facts);
    project.provide("otlpPort", receiver.port);
  } catch (error) {
    await lab.stop();
    throw error;
  }
  return async () => {
    await lab.stop();
    await receiver[Symbol.asyncDispose]();
    restoreSignals();
  };
}

/** Handles signals in place of vitest, which exits at once and without teardown. Returns what gives them back. */
function takeSignals(handle: (signal: (typeof signals)[number]) => void): () => void {
  const undo = signals.map((signal) => {
    const others = process.rawListeners(signal) as NodeJS.SignalsListener[];
    const listener = (): void => handle(signal);
    process.removeAllListeners(signal).on(signal, listener);
    return () => {
      process.off(signal, listener);
      for (const other of others) process.on(signal, other);
    };
  });
  return () => undo.forEach((restore) => restore());
}
