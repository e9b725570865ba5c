/** The node agent: dumper, shipper, pager and restorer of one node in one process, on one port. */
import { mkdir } from "node:fs/promises";
import { createDumper } from "../dumper/service.ts";
import { createPager } from "../pager/service.ts";
import { createRestorer } from "../restorer/service.ts";
import { openDocker } from "../shared/adapters/docker.ts";
import { createResourceProbe } from "../shared/adapters/resources.ts";
import { createLog } from "../shared/log.ts";
import { runUntilSignal, serveServices } from "../shared/serve.ts";
import { startTelemetry } from "../shared/telemetry.ts";
import { createShipper } from "../shipper/service.ts";
import { readAgentConfig } from "./config.ts";

/** Runs the agent until SIGINT or SIGTERM. Throws when a setting is wrong or a port is taken. */
export async function runAgent(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<void> {
  const config = readAgentConfig(argv, env);
  const log = createLog("agent", config.logLevel);
  const { stateDir } = config;
  await mkdir(stateDir, { recursive: true, mode: 0o700 });
  const telemetry = startTelemetry(["dumper", "shipper", "pager", "restorer"], env);
  const docker = openDocker(config.dockerSocket);
  const of = (service: string) => ({ docker, stateDir, log: log.child({ service }) });
  const services = [
    createDumper(of("dumper")),
    await createShipper({ ...of("shipper"), dataListen: config.dataListen }),
    createPager({ ...of("pager"), serveWith: config.pager, reconnectSeconds: config.reconnectSeconds }),
    createRestorer(of("restorer")),
  ];
  const resources = createResourceProbe({ docker, stateDir });
  await runUntilSignal(
    await serveServices({
      title: "Dmigrate node agent",
      listen: config.listen,
      token: config.token,
      services,
      log,
      telemetry,
      resources,
    }),
  );
}
