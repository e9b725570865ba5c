/** Puts services on a port, and takes them off it again: the last lines of every main. */
import { serve, type ServerType } from "@hono/node-server";
import { collectDefaultMetrics, Registry } from "prom-client";
import type { NodeResources } from "./contracts/common.ts";
import type { ListenAddress } from "./config.ts";
import { DmigrateError, messageOf } from "./errors.ts";
import { createApp, type Service } from "./http.ts";
import { idleServerMs } from "./keep-alive.ts";
import type { Log } from "./log.ts";
import type { Telemetry } from "./telemetry.ts";

export interface ServeOptions {
  title: string;
  listen: ListenAddress;
  token: string | undefined;
  services: readonly Service[];
  log: Log;
  telemetry: Telemetry;
  resources?: () => Promise<NodeResources>;
  metrics?: Registry;
}

export interface Running {
  port: number;
  /** Stops taking requests, lets those under way end (10 s at most), then stops each service. */
  stop(): Promise<void>;
}

/** Listens, and resolves once requests are taken. Throws `unavailable` when the address is taken. */
export async function serveServices(options: ServeOptions): Promise<Running> {
  const { listen, services, log, telemetry } = options;
  const metrics = options.metrics ?? new Registry();
  collectDefaultMetrics({ register: metrics });
  const app = createApp({ ...options, metrics });
  const server = await new Promise<ServerType>((resolve, reject) => {
    const started = serve({ fetch: app.fetch, hostname: listen.host, port: listen.port }, () => resolve(started));
    started.once("error", (cause) =>
      reject(
        new DmigrateError("unavailable", `cannot listen on ${listen.host}:${listen.port}: ${messageOf(cause)}`, {
          cause,
        }),
      ),
    );
  });
  if ("keepAliveTimeout" in server) server.keepAliveTimeout = idleServerMs;
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : listen.port;
  log.info({ host: listen.host, port, services: services.map(({ name }) => name) }, "listening");
  let stopping: Promise<void> | undefined;
  const stop = async (): Promise<void> => {
    await closeServer(server, 10_000);
    for (const service of services) {
      await service.stop().catch((error: unknown) => log.error({ err: error }, `stopping the ${service.name} failed`));
    }
    await telemetry.shutdown().catch((error: unknown) => log.warn({ err: error }, "the last traces were not sent"));
    log.info("stopped");
  };
  return { port, stop: () => (stopping ??= stop()) };
}

async function closeServer(server: ServerType, graceMs: number): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  if ("closeIdleConnections" in server) server.closeIdleConnections();
  const timer = setTimeout(() => {
    if ("closeAllConnections" in server) server.closeAllConnections();
  }, graceMs);
  await closed;
  clearTimeout(timer);
}

/** Runs until SIGINT or SIGTERM, then stops. A second signal ends the process at once. */
export async function runUntilSignal(running: Running): Promise<void> {
  await new Promise<void>((resolve) => {
    process.once("SIGINT", resolve);
    process.once("SIGTERM", resolve);
  });
  process.once("SIGINT", () => process.exit(130));
  process.once("SIGTERM", () => process.exit(143));
  await running.stop();
}

/** Wraps a main: a failure at start is one line on stderr and exit code 1. */
export async function runMain(main: () => Promise<void>): Promise<void> {
  try {
    await main();
  } catch (error) {
    process.stderr.write(`dmigrate: ${messageOf(error)}\n`);
    process.exitCode = 1;
  }
}
