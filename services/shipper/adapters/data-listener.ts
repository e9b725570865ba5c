/** The source's data port: who proves to know the secret of a transfer is given to it. */
import type { AddressInfo } from "node:net";
import type { ListenAddress } from "../../shared/config.ts";
import type { LinkSecurity } from "../../shared/contracts/shipper.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import type { Connection } from "../../shared/link/connection.ts";
import { createDataServer } from "../../shared/link/data-server.ts";
import type { Role } from "../../shared/link/preamble.ts";
import type { Log } from "../../shared/log.ts";

const maxConnections = 1_024;
const maxHandshakes = 64;

/** Who takes connections of a migration. */
export interface Attachable {
  readonly key: Buffer;
  /** With `plain`, connections without encryption are taken too. */
  readonly security?: LinkSecurity;
  /** Takes a connection over. */
  attach: (role: Role, connection: Connection) => void;
}

export type FindTransfer = (migrationId: string) => Attachable | undefined;

export interface DataListener {
  readonly port: number;
  /** No more connections; those that were given away are their owners' to close. */
  close: () => Promise<void>;
}

/** Listens. Throws `unavailable` when the address is taken. */
export async function listenForData(listen: ListenAddress, find: FindTransfer, log: Log): Promise<DataListener> {
  const { server, dropHandshakes } = createDataServer({
    maxHandshakes,
    keyOf: (identity, security) => {
      const transfer = find(identity);
      return security === "tls" || transfer?.security === "plain" ? transfer?.key : undefined;
    },
    onConnection: (connection, identity, role) => {
      const transfer = find(identity);
      if (transfer === undefined) throw new Error("the transfer is gone");
      transfer.attach(role, connection);
      log.info({ migrationId: identity, role }, "data connection");
    },
    onRefused: (error) => log.debug({ err: error }, "a data connection was refused"),
  });
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
        dropHandshakes();
      }),
  };
}
