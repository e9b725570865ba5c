/** Where data connections come in: handshake, greeting, and on to their transfer. In each thread that serves some. */
import type { Socket } from "node:net";
import type { LinkSecurity } from "../../shared/contracts/shipper.ts";
import { frameOf, FrameError, frameTypes, type Frame } from "../../shared/core/frames/frame.ts";
import { decodeHello, type Role } from "../../shared/core/frames/page-message.ts";
import { messageOf } from "../../shared/errors.ts";
import type { HandshakeOptions } from "../../shared/link/data-server.ts";
import { openFramedLink, type FramedLink, type FrameHandler } from "../../shared/link/framed.ts";
import type { Preamble } from "../../shared/link/preamble.ts";
import type { Log } from "../../shared/log.ts";

const maxHandshakes = 64;
const greetingTimeoutMs = 5_000;

/** Who takes connections of a migration. */
export interface Attachable {
  readonly key: Buffer;
  /** With `plain`, connections without encryption are taken too. */
  readonly security?: LinkSecurity;
  /** Takes a connection over; the answer handles its frames. The one before of the same role is closed. */
  attach: (role: Role, link: FramedLink) => FrameHandler;
}

export type FindTransfer = (migrationId: string) => Attachable | undefined;

export class DataDoor {
  readonly #find: FindTransfer;
  readonly #log: Log;
  readonly #sockets = new Set<Socket>();

  constructor(find: FindTransfer, log: Log) {
    this.#find = find;
    this.#log = log;
  }

  /** How those who know the secret of a transfer get in here. */
  get handshakes(): HandshakeOptions {
    return {
      maxHandshakes,
      keyOf: (identity, security) => {
        const transfer = this.#find(identity);
        return security === "tls" || transfer?.security === "plain" ? transfer?.key : undefined;
      },
      onConnection: (socket, identity, preamble) => {
        this.#sockets.add(socket);
        socket.once("close", () => this.#sockets.delete(socket));
        this.#greet(socket, identity, preamble);
      },
      onRefused: (error) => this.#log.debug({ err: error }, "a data connection was refused"),
    };
  }

  /** Ends all connections that came in. */
  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Waits for the greeting, then gives the connection to its transfer. */
  #greet(socket: Socket, identity: string, preamble: Preamble): void {
    let handler: FrameHandler | undefined;
    const timer = setTimeout(() => link.close(new Error("no greeting in time")), greetingTimeoutMs);
    const onFirst = (frame: Frame): void => {
      if (frame.type !== frameTypes.hello) throw new FrameError("the peer did not greet");
      const role = decodeHello(frame.payload);
      if (role !== preamble.role) throw new FrameError("the peer greets for another role than it came for");
      const transfer = this.#find(identity);
      if (transfer === undefined) throw new Error("the transfer is gone");
      clearTimeout(timer);
      link.write(frameTypes.welcome, 0, frameOf(Buffer.alloc(0)));
      handler = transfer.attach(role, link);
      this.#log.info({ migrationId: identity, role, peer: socket.remoteAddress }, "data connection");
    };
    const link = openFramedLink(socket, (frame) => (handler === undefined ? onFirst(frame) : handler(frame)));
    void link.closed.then((reason) => {
      clearTimeout(timer);
      this.#log.debug({ migrationId: identity, reason: reason && messageOf(reason) }, "data connection closed");
    });
  }
}
