/**
 * The record of a small file, of which a tree may have a hundred thousand: laid out so that the system's calls take its
 * parts from where they lie in the frame, and written and read without an object for each.
 *
 *     u8 15, u32 length, attributes, u16 name length, name, NUL, bytes
 */
import { attributesBytes, checkTimes, timesOffset, writeAttributes, type Attributes } from "./attributes.ts";
import { FrameError, maxDataBytes } from "./frame.ts";

export const smallNumber = 15;
export const maxNameBytes = 255;

/** Where a small file lies in its frame. Whoever gets one can rely on all of it ending within the frame. */
export interface SmallFile {
  mode: number;
  uid: number;
  gid: number;
  /** Of two struct timespec. */
  timesAt: number;
  /** Of a single component of a path, with a NUL behind it. */
  nameAt: number;
  nameBytes: number;
  dataAt: number;
  dataBytes: number;
}

export const noSmallFile = (): SmallFile => ({
  mode: 0,
  uid: 0,
  gid: 0,
  timesAt: 0,
  nameAt: 0,
  nameBytes: 0,
  dataAt: 0,
  dataBytes: 0,
});

const attributesAt = 5;
const nameLengthAt = attributesAt + attributesBytes;
const nameAt = nameLengthAt + 2;
const slash = 0x2f;
const dot = 0x2e;

/** What the record takes beside its data. */
export const smallHeadBytes = (nameBytes: number): number => nameAt + nameBytes + 1;

/** Writes all but the data, which follows; answers where that begins. */
export function writeSmallHead(
  buffer: Buffer,
  at: number,
  name: Buffer,
  attributes: Attributes,
  dataBytes: number,
): number {
  buffer[at] = smallNumber;
  buffer.writeUInt32LE(dataBytes, at + 1);
  writeAttributes(buffer, at + attributesAt, attributes);
  buffer.writeUInt16LE(name.length, at + nameLengthAt);
  buffer.set(name, at + nameAt);
  buffer[at + nameAt + name.length] = 0;
  return at + smallHeadBytes(name.length);
}

/** Reads one at `at` into `file`; answers where it ends. Throws FrameError on one that is cut short or malformed. */
export function readSmall(bytes: Buffer, view: DataView, at: number, file: SmallFile): number {
  if (at + nameAt > bytes.length) throw cut();
  const dataBytes = view.getUint32(at + 1, true);
  const nameBytes = view.getUint16(at + nameLengthAt, true);
  if (nameBytes > maxNameBytes || dataBytes > maxDataBytes) throw new FrameError("a small file that is too large");
  const dataAt = at + smallHeadBytes(nameBytes);
  if (dataAt + dataBytes > bytes.length) throw cut();
  checkName(bytes, at + nameAt, nameBytes);
  if (bytes[dataAt - 1] !== 0) throw new FrameError("a small file's name does not end");
  checkTimes(view, at + attributesAt);
  file.mode = view.getUint32(at + attributesAt, true);
  file.uid = view.getUint32(at + attributesAt + 4, true);
  file.gid = view.getUint32(at + attributesAt + 8, true);
  file.timesAt = at + attributesAt + timesOffset;
  file.nameAt = at + nameAt;
  file.nameBytes = nameBytes;
  file.dataAt = dataAt;
  file.dataBytes = dataBytes;
  return dataAt + dataBytes;
}

const cut = (): FrameError => new FrameError("a record is cut short");

/** A name is one component of a path: it leads nowhere but into its directory. Throws FrameError. */
export function checkName(bytes: Buffer, at: number, length: number): void {
  let fits = length > 0;
  let dots = length <= 2;
  for (let index = at; index < at + length; index++) {
    const byte = bytes[index];
    if (byte === slash || byte === 0) fits = false;
    if (byte !== dot) dots = false;
  }
  if (fits && !dots) return;
  const text = bytes.toString("latin1", at, at + Math.min(length, 40));
  throw new FrameError(`a file name that is not one: ${JSON.stringify(text)}`);
}
