/**
 * Gives a connection to another thread of this process: the threads share their descriptors, though not their sockets.
 * What the peer had sent already goes with it.
 */
import { closeSync } from "node:fs";
import { Socket } from "node:net";
import koffi from "koffi";
import { LinuxError } from "./linux.ts";

const fcntl = koffi.load(null).func("int fcntl(int, int, int)") as (...args: unknown[]) => number;
const duplicateCloseOnExec = 1030;

export interface HandedSocket {
  /** The receiver's to close. */
  fd: number;
  /** What was read from it and not used. */
  ahead: Uint8Array;
}

/** The number of a socket's descriptor; undefined when it has none any more. */
export function descriptorOf(socket: Socket): number | undefined {
  const handle: unknown = Reflect.get(socket, "_handle");
  const fd: unknown = typeof handle === "object" && handle !== null ? Reflect.get(handle, "fd") : undefined;
  return typeof fd === "number" && fd >= 0 ? fd : undefined;
}

/** Takes the connection out of a socket, which is destroyed; the connection lives on. Throws LinuxError. */
export function takeOut(socket: Socket): HandedSocket {
  const descriptor = descriptorOf(socket);
  if (descriptor === undefined) throw new Error("the connection is gone");
  const fd = fcntl(descriptor, duplicateCloseOnExec, 0);
  if (fd < 0) throw new LinuxError("fcntl", koffi.errno());
  // In one turn: nothing more is read in between.
  const ahead = (socket.read() as Buffer | null) ?? Buffer.alloc(0);
  socket.destroy();
  return { fd, ahead: Uint8Array.from(ahead) };
}

/** The socket of a connection that another thread has taken out. */
export function putIn({ fd, ahead }: HandedSocket): Socket {
  try {
    const socket = new Socket({ fd, readable: true, writable: true });
    if (ahead.length > 0) socket.unshift(Buffer.from(ahead));
    return socket;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
