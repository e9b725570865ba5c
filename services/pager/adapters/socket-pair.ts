/** CRIU's connection to its page server: two connected sockets, one of them ours, the other for CRIU to inherit. */
import { closeSync } from "node:fs";
import { Socket } from "node:net";
import { setSocketOption, socketOptions } from "../../shared/adapters/socket-options.ts";
import { socketPair } from "../../shared/adapters/socket-pair.ts";

export interface SocketPair {
  readonly ours: Socket;
  /** The descriptor under `ours`, for a child to inherit. */
  readonly oursFd: number;
  /** The other end: blocking, as a child expects it. Closed by `closeTheirs`. */
  readonly theirsFd: number;
  /** Once a child has inherited it, or when none will. */
  closeTheirs(): void;
}

/** `sendBytes`: how much we can write without the other side reading. Throws LinuxError. */
export function createSocketPair(sendBytes: number): SocketPair {
  const { ours, theirs } = socketPair("stream");
  // By default an answer would leave in pieces of 200 KB, each after a wake-up. Without CAP_NET_ADMIN it stays so.
  setSocketOption(ours, socketOptions.sendBufferForced, sendBytes);
  let open = true;
  return {
    ours: new Socket({ fd: ours, readable: true, writable: true }),
    oursFd: ours,
    theirsFd: theirs,
    closeTheirs: () => {
      if (open) closeSync(theirs);
      open = false;
    },
  };
}
