/** Two ends of a connection in memory, as framed links. */
import { duplexPair, type Duplex } from "node:stream";
import type { Ciphers } from "../../services/shared/link/connection.ts";
import { openFramedLink, type FramedLink, type FrameHandler } from "../../services/shared/link/framed.ts";
import { cipherPair } from "./cipher-pair.ts";

export interface LinkPair {
  links: [FramedLink, FramedLink];
  sockets: [Duplex, Duplex];
  /** Whoever seals a record by hand counts for the link. */
  ciphers: [Ciphers, Ciphers];
}

/** What one end writes, the other's handler gets; a write is done once the other end has read it. */
export function linkPair(left: FrameHandler, right: FrameHandler, ciphers = cipherPair()): LinkPair {
  const sockets = duplexPair({ highWaterMark: 16 * 1024 });
  for (const socket of sockets) copyWrites(socket);
  const links: LinkPair["links"] = [
    openFramedLink(sockets[0], ciphers[0], left),
    openFramedLink(sockets[1], ciphers[1], right),
  ];
  return { links, sockets, ciphers };
}

/** As the system does: what was written may be used again, though the other end has yet to look at it. */
function copyWrites(socket: Duplex): void {
  const write = socket._write.bind(socket);
  socket._write = (chunk: Buffer, encoding, done) => write(Buffer.from(chunk), encoding, done);
}
