/** Reads that a thread does, so that a disk holds nobody up. */
import { read } from "node:fs";

/** Fills `room` with what a file has from `from` on. False when it ends before. */
export async function readAll(fd: number, room: Buffer, from: number): Promise<boolean> {
  for (let done = 0; done < room.length;) {
    const more = await readOnce(fd, room, done, from + done);
    if (more === 0) return false;
    done += more;
  }
  return true;
}

function readOnce(fd: number, room: Buffer, at: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    read(fd, room, at, room.length - at, position, (error, bytes) => (error === null ? resolve(bytes) : reject(error)));
  });
}
