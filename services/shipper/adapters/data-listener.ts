/**
 * The source's data port: lets in peers who know a transfer's secret and greet, and hands each connection over.
 * Strangers cost a bounded number of handshakes, each bounded in time.
 */
import type { AddressInfo, Socket } from "node:net";
import type { ListenAddress } from "../../shared/config.ts";
import type { LinkSecurity } from "../../shared/contracts/shipper.ts";
import { frameOf, FrameError, frameTypes, type Frame } from "../../shared/core/frames/frame.ts";
import { decodeHello, type Role } from "../../shared/core/frames/page-message.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import { createDataServer } from "../../shared/link/data-server.ts";
import { openFramedLink, type FramedLink, type FrameHandler } from "../../shared/link/framed.ts";

import type { Log } from "../../shared/log.ts";

const maxHandshakes = 64;
const maxConnections = 1_024;
const greetingTimeoutMs = 5_000;

/** Who takes connections of a migration. */
export interface Attachable {
  readonly key: Buffer;
  /** With `plain`, connections without encryption are taken too. */
  readonly security?: LinkSecurity;
  /** Takes a connection over; the answer handles its frames. The one before of the same role is closed. */
  attach: (role: Role, link: FramedLink) => FrameHandler;
}

export interface DataListener {
  readonly port: number;
  close: () => Promise<void>;
}

/** Listens. Throws `unavailable` when the address is taken. */
export async function listenForData(
  listen: ListenAddress,
  find: (migrationId: string) => Attachable | undefined,
  log: Log,
): Promise<DataListener> {
  const sockets = new Set<Socket>();
  const server = createDataServer({
    maxHandshakes,
    keyOf: (identity, security) => {
      const transfer = find(identity);
      return security === "tls" || transfer?.security === "plain" ? transfer?.key : undefined;
    },
    onConnection: (socket, identity) => {
      sockets.add(socket);
      socket.once("close", () => sockets.delete(socket));
      greet(socket, identity, find, log);
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
        for (const socket of sockets) socket.destroy();
      }),
  };
}

/** Waits for the greeting, then gives the connection to its transfer. */
function greet(
  socket: Socket,
  identity: string,
  find: (migrationId: string) => Attachable | undefined,
  log: Log,
): void {
  let handler: FrameHandler | undefined;
  const timer = setTimeout(() => link.close(new Error("no greeting in time")), greetingTimeoutMs);
  const onFirst = (frame: Frame): void => {
    if (frame.type !== frameTypes.hello) throw new FrameError("the peer did not greet");
    const role = decodeHello(frame.payload);
    const transfer = find(identity);
    if (transfer === undefined) throw new Error("the transfer is gone");
    clearTimeout(timer);
    link.write(frameTypes.welcome, 0, frameOf(Buffer.alloc(0)));
    handler = transfer.attach(role, link);
    log.info({ migrationId: identity, role, peer: socket.remoteAddress }, "data connection");
  };
  const link = openFramedLink(socket, (frame) => (handler === undefined ? onFirst(frame) : handler(frame)));
  void link.closed.then((reason) => {
    clearTimeout(timer);
    log.debug({ migrationId: identity, reason: reason && messageOf(reason) }, "data connection closed");
  });
}
