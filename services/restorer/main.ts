/** The restorer alone: `node services/restorer/main.ts`. */
import { mkdir } from "node:fs/promises";
import { openDocker } from "../shared/adapters/docker.ts";
import { createResourceProbe } from "../shared/adapters/resources.ts";
import { createLog } from "../shared/log.ts";
import { runMain, runUntilSignal, serveServices } from "../shared/serve.ts";
import { startTelemetry } from "../shared/telemetry.ts";
import { readRestorerConfig } from "./config.ts";
import { createRestorer } from "./service.ts";

await runMain(async () => {
  const { listen, token, logLevel, stateDir, dockerSocket } = readRestorerConfig(process.argv.slice(2), process.env);
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const log = createLog("restorer", logLevel);
  const telemetry = startTelemetry(["restorer"], process.env);
  const docker = openDocker(dockerSocket);
  const restorer = createRestorer({ docker, stateDir, log });
  const resources = createResourceProbe({ docker, stateDir });
  const title = "Dmigrate restorer";
  await runUntilSignal(await serveServices({ title, listen, token, services: [restorer], log, telemetry, resources }));
});
