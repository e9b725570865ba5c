/** Brings up the one lab that serves all lab tests of a vitest run, and takes it down after them. */
import type { TestProject } from "vitest/node";

import { startOtlpReceiver } from "../otlp-receiver.ts";
import "./connect.ts";
import { startLab } from "./lab.ts";

/** Called by vitest before the first lab test; what it returns is called after the last. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  await using cleanup = new AsyncDisposableStack();
  const receiver = cleanup.use(await startOtlpReceiver());
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${receiver.port}`,
    OTEL_BSP_SCHEDULE_DELAY: "200",
  };
  const lab = cleanup.use(await startLab({ env }));
  project.provide("lab", lab.facts);
  project.provide("otlpPort", receiver.port);
  const rest = cleanup.move();
  return () => rest.disposeAsync();
}
