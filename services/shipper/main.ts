/** The shipper alone: `node services/shipper/main.ts`. */
import { openDocker } from "../shared/adapters/docker.ts";
import { createResourceProbe } from "../shared/adapters/resources.ts";
import { createLog } from "../shared/log.ts";
import { runMain, runUntilSignal, serveServices } from "../shared/serve.ts";
import { startTelemetry } from "../shared/telemetry.ts";
import { readShipperConfig } from "./config.ts";
import { createShipper } from "./service.ts";

await runMain(async () => {
  const config = readShipperConfig(process.argv.slice(2), process.env);
  const { listen, token, logLevel, stateDir, dockerSocket, dataListen } = config;
  const log = createLog("shipper", logLevel);
  const telemetry = startTelemetry(["shipper"], process.env);
  const docker = openDocker(dockerSocket);
  const services = [await createShipper({ docker, stateDir, log, dataListen })];
  const resources = createResourceProbe({ docker, stateDir });
  await runUntilSignal(
    await serveServices({ title: "Dmigrate shipper", listen, token, services, log, telemetry, resources }),
  );
});
