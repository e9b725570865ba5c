/** The source's data port: what comes in here is served by this thread, or taken away by those who serve its kind. */
import type { AddressInfo, Socket } from "node:net";
import type { ListenAddress } from "../../shared/config.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import { createDataServer } from "../../shared/link/data-server.ts";
import type { Preamble } from "../../shared/link/preamble.ts";
import type { Log } from "../../shared/log.ts";
import { DataDoor, type FindTransfer } from "./data-door.ts";

const maxConnections = 1_024;

export interface DataListener {
  readonly port: number;
  close: () => Promise<void>;
}

/** Takes a connection away to another thread; true when it has. */
export type TakeAway = (socket: Socket, preamble: Preamble) => boolean;

/** Listens. Throws `unavailable` when the address is taken. */
export async function listenForData(
  listen: ListenAddress,
  find: FindTransfer,
  log: Log,
  takeAway?: TakeAway,
): Promise<DataListener> {
  const door = new DataDoor(find, log);
  const server = createDataServer({ ...door.handshakes, ...(takeAway === undefined ? {} : { takeAway }) });
  server.maxConnections = maxConnections;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (cause) =>
      reject(
        new DmigrateError(
          "unavailable",
          `cannot listen for data on ${listen.host}:${listen.port}: ${messageOf(cause)}`,
          {
            cause,
          },
        ),
      ),
    );
    server.listen(listen.port, listen.host, resolve);
  });
  server.on("error", (error) => log.error({ err: error }, "the data port failed"));
  const { port } = server.address() as AddressInfo;
  log.info({ host: listen.host, port }, "listening for data connections");
  return {
    port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        door.close();
      }),
  };
}
