/** What log files hold, in blocks of which each is gone with the next. */
import { constants } from "node:fs";
import { open, type FileHandle } from "node:fs/promises";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { hasErrno } from "../../shared/errors.ts";

const blockBytes = 256 * 1024;

/** A file of a log, or undefined when it is not there. */
export async function openOptional(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** The bytes of a file between two places, or up to its end. */
export async function* readFrom(handle: FileHandle, from: number, to: number): AsyncGenerator<Buffer, void, void> {
  const block = Buffer.allocUnsafeSlow(Math.min(blockBytes, Math.max(1, to - from)));
  for (let at = from; at < to;) {
    const { bytesRead } = await handle.read(block, 0, Math.min(block.length, to - at), at);
    if (bytesRead === 0) return;
    at += bytesRead;
    yield block.subarray(0, bytesRead);
  }
}

/** As gzip packs it. */
export function pack(content: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  const packed = createGzip();
  const copies = async function* (): AsyncGenerator<Buffer, void, void> {
    for await (const bytes of content) yield Buffer.from(bytes);
  };
  // A failure is met by whoever reads.
  pipeline(copies, packed).catch(() => undefined);
  return packed;
}
