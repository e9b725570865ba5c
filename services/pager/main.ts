/** The pager alone: `node services/pager/main.ts`. */
import { createResourceProbe } from "../shared/adapters/resources.ts";
import { openDocker } from "../shared/adapters/docker.ts";
import { createLog } from "../shared/log.ts";
import { runMain, runUntilSignal, serveServices } from "../shared/serve.ts";
import { startTelemetry } from "../shared/telemetry.ts";
import { readPagerConfig } from "./config.ts";
import { createPager } from "./service.ts";

await runMain(async () => {
  const config = readPagerConfig(process.argv.slice(2), process.env);
  const { listen, token, logLevel, stateDir, dockerSocket, pager: serveWith, reconnectSeconds } = config;
  const log = createLog("pager", logLevel);
  const telemetry = startTelemetry(["pager"], process.env);
  const services = [createPager({ stateDir, log, serveWith, reconnectSeconds })];
  const resources = createResourceProbe({ docker: openDocker(dockerSocket), stateDir });
  await runUntilSignal(
    await serveServices({ title: "Dmigrate pager", listen, token, services, log, telemetry, resources }),
  );
});
