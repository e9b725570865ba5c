/** The planner as a process: a port, a store, an end. */
import { Registry } from "prom-client";
import { createLog } from "../shared/log.ts";
import { runUntilSignal, serveServices } from "../shared/serve.ts";
import { startTelemetry } from "../shared/telemetry.ts";
import { readPlannerConfig } from "./config.ts";
import { createPlanner } from "./service.ts";

/** Runs the planner until SIGINT or SIGTERM. Throws when a setting is wrong, the store is in use, or the port is taken. */
export async function runPlanner(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const { listen, token, logLevel, stateDir, maxPerNode, linkSecurity, pullFrom } = readPlannerConfig(argv, env);
  const log = createLog("planner", logLevel);
  const telemetry = startTelemetry(["planner"], env);
  const metrics = new Registry();
  const planner = createPlanner({ stateDir, log, metrics, maxPerNode, linkSecurity, pullFrom });
  const title = "Dmigrate planner";
  const running = await serveServices({ title, listen, token, services: [planner], log, telemetry, metrics });
  await runUntilSignal({
    port: running.port,
    stop: () => {
      planner.endStreams();
      return running.stop();
    },
  });
}
