/**
 * A data connection is a row of records, each with one whole frame or several:
 *
 *     u32 how many bytes of frames follow · those bytes · a tag
 */
import { FrameError, frameHeaderBytes, maxPayloadBytes } from "./frame.ts";

export const recordHeadBytes = 4;
/** Most bytes of frames in one record. */
export const maxRecordBytes = frameHeaderBytes + maxPayloadBytes;

/** One direction of a connection; both ends use it once for each record, in their order. Addresses are of memory. */
export interface RecordCipher {
  readonly tagBytes: number;
  /** Puts `bytes` bytes from `source` behind the head of the record at `address`, sealed, and the tag behind them. */
  seal: (address: bigint, bytes: number, source: bigint) => void;
  /** Opens a record where it is. False when it is not what was sealed: the connection is worth nothing then. */
  open: (address: bigint, bytes: number) => boolean;
  /** Frees what it takes. */
  close: () => void;
}

/** How many bytes of frames a record has, by its head. Throws FrameError on what no record has. */
export function recordBytesOf(head: Buffer): number {
  const bytes = head.readUInt32LE(0);
  if (bytes < frameHeaderBytes || bytes > maxRecordBytes)
    throw new FrameError(`a record announces ${bytes} bytes; ${frameHeaderBytes} to ${maxRecordBytes} are allowed`);
  return bytes;
}
