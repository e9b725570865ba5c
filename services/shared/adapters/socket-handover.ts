/**
 * Takes a connection out of Node's socket, for another protocol or another thread: the threads of a process share their
 * descriptors, though not their sockets. What the peer had sent already goes with it.
 */
import { Socket, type OnReadOpts } from "node:net";
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

/** Nothing more is read from the system, until somebody else reads it. */
export function holdReading(socket: Socket): void {
  socket.pause();
  const handle: unknown = Reflect.get(socket, "_handle");
  const stop: unknown = typeof handle === "object" && handle !== null ? Reflect.get(handle, "readStop") : undefined;
  if (typeof stop !== "function") throw new Error("the connection is gone");
  Reflect.apply(stop, handle, []);
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

/**
 * The socket of a connection that was taken out; what was read ahead is the caller's to use first. The descriptor is the
 * socket's from now on, unless this throws.
 */
export const putIn = ({ fd }: HandedSocket, onread?: OnReadOpts): Socket =>
  new Socket({ fd, readable: true, writable: true, ...(onread && { onread }) });
