/** Two ends of a connection in memory, as framed links. */
import { duplexPair, type Duplex } from "node:stream";
import { openFramedLink, type FramedLink, type FrameHandler } from "../../services/shared/link/framed.ts";

export interface LinkPair {
  links: [FramedLink, FramedLink];
  sockets: [Duplex, Duplex];
}

/** What one end writes, the other's handler gets; a write is done once the other end has read it. */
export function linkPair(left: FrameHandler, right: FrameHandler): LinkPair {
  const sockets = duplexPair({ highWaterMark: 16 * 1024 });
  return { links: [openFramedLink(sockets[0], left), openFramedLink(sockets[1], right)], sockets };
}
