/** A way between two ends of TCP connections, on which what passes may be changed, joined, or recorded. */
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import type { Endpoint } from "../../services/shared/contracts/common.ts";

/** Gets what one end has sent, and says what of it goes on now. */
export type Passing = (bytes: Buffer, goOn: (bytes: Buffer) => void) => void;

export interface Relay {
  /** Where to connect to. */
  endpoint: Endpoint;
  close: () => void;
}

export interface RelayOptions {
  to: number;
  /** Made anew for each connection. */
  there?: () => Passing;
  back?: () => Passing;
}

const asItIs = (): Passing => (bytes, goOn) => goOn(bytes);

export async function openRelay({ to, there = asItIs, back = asItIs }: RelayOptions): Promise<Relay> {
  const sockets = new Set<Socket>();
  const pass = (from: Socket, onward: Socket, passing: Passing): void => {
    sockets.add(from);
    from
      .on("error", () => undefined)
      .on("close", () => onward.destroy())
      .on("end", () => onward.end())
      .on("data", (bytes: Buffer) => passing(bytes, (some) => onward.write(some)));
  };
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const onward = connect({ port: to, host: "127.0.0.1", allowHalfOpen: true });
    pass(socket, onward, there());
    pass(onward, socket, back());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    endpoint: { host: "127.0.0.1", port: (server.address() as AddressInfo).port },
    close: () => {
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** Changes one byte of all that passes. */
export function changing(at: number, change: number): () => Passing {
  return () => {
    let passed = 0;
    return (bytes, goOn) => {
      const changed = Buffer.from(bytes);
      if (at >= passed && at < passed + bytes.length) changed[at - passed] = (changed[at - passed] ?? 0) ^ change;
      passed += bytes.length;
      goOn(changed);
    };
  };
}

/** Holds what comes for so long that it goes on in one piece. */
export function joining(pauseMs: number): () => Passing {
  return () => {
    const held: Buffer[] = [];
    return (bytes, goOn) => {
      if (held.push(bytes) === 1) setTimeout(() => goOn(Buffer.concat(held.splice(0))), pauseMs);
    };
  };
}
