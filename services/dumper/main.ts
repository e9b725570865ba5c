/** The dumper alone on its port; the node agent holds it together with the other services of a node. */
import { mkdir } from "node:fs/promises";
import { openDocker } from "../shared/adapters/docker.ts";
import { createResourceProbe } from "../shared/adapters/resources.ts";
import { readConfig } from "../shared/config.ts";
import { createLog } from "../shared/log.ts";
import { runMain, runUntilSignal, serveServices } from "../shared/serve.ts";
import { startTelemetry } from "../shared/telemetry.ts";
import { dumperConfigShape } from "./config.ts";
import { createDumper } from "./service.ts";

await runMain(async () => {
  const { listen, token, stateDir, dockerSocket, logLevel } = readConfig(
    dumperConfigShape,
    process.argv.slice(2),
    process.env,
  );
  const log = createLog("dumper", logLevel);
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const telemetry = startTelemetry(["dumper"], process.env);
  const docker = openDocker(dockerSocket);
  await runUntilSignal(
    await serveServices({
      title: "Dmigrate dumper",
      listen,
      token,
      services: [createDumper({ docker, stateDir, log })],
      log,
      telemetry,
      resources: createResourceProbe({ docker, stateDir }),
    }),
  );
});
