/** Two connected stream sockets that nobody else can get hold of; Node has no socketpair(2). */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface SocketPair {
  ours: Socket;
  theirs: Socket;
}

/**
 * `path` is a socket file that exists only for the moment; its directory must be closed to other users. Both ends may be
 * given to a child as `stdio`.
 */
export async function createSocketPair(path: string, signal: AbortSignal): Promise<SocketPair> {
  const server = createServer({ pauseOnConnect: true });
  try {
    server.listen(path);
    await once(server, "listening", { signal });
    const accepted = once(server, "connection", { signal }) as Promise<[Socket]>;
    const theirs = connect({ path });
    const [[ours]] = await Promise.all([accepted, once(theirs, "connect", { signal })]);
    theirs.pause();
    return { ours, theirs };
  } finally {
    // Also removes the file.
    server.close();
  }
}
