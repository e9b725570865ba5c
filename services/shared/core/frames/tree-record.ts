/**
 * A file tree as a stream of records. A jobData frame holds whole records; directories nest by enter and leave, so a
 * record carries one name, never a path that could lead elsewhere, and a small file costs some 80 bytes.
 *
 *     record       u8 type, then
 *     tree         u16 index                          begins a tree; its root is entered by a directory without name
 *     directory    u8 flags, attributes, name         entered; what follows is inside it, up to `leave`
 *     leave        -
 *     file         u64 size, attributes, name         then chunks, then `fileEnd`
 *     patch        u64 size, attributes, name         a file that was sent before: then chunks and holes, then `fileEnd`
 *     chunk        u64 offset, u32 length, bytes      what no chunk covers is a hole; in a patch it is as it was
 *     hole         u64 offset, u64 length             in a patch
 *     zeros        u64 offset, u32 length             a chunk of zeros, which are data and not a hole
 *     origin       u32 number                         of the file under way: parts of it may be copied from here on
 *     copy         u64 offset, u32 length, u32 number, u64 from    a chunk that is the same as one of a numbered file
 *     same         u32 length, SHA-256, u16 tree, path   all that is in the file under way: what a file has that was sent before
 *                                                     in this job, by its tree's index and its path from that tree's root
 *     fileEnd      -
 *     small        u32 length, attributes, name, NUL, bytes   a whole file: no holes, no attributes of its own
 *     symlink      attributes, name, target
 *     node         u32 major, u32 minor, attributes, name     FIFO, socket, device: the mode's type says which
 *     link         name, path from the tree's root    one more name of a file sent before in this job
 *     remove       name                               with all that is in it
 *     attribute    name, u32 length, value            an extended attribute of the entry before it
 *
 * attributes: attributes.ts; small: small-file.ts. Names and paths: u16 length, bytes.
 */
import { attributesBytes, readAttributes, writeAttributes, type Attributes } from "./attributes.ts";
import { FrameError, maxDataBytes } from "./frame.ts";
import { checkName, maxNameBytes, readSmall, smallNumber, type SmallFile } from "./small-file.ts";

export type TreeRecord =
  | { type: "tree"; index: number }
  | { type: "directory"; name: Buffer; attributes: Attributes; fresh: boolean; prune: boolean }
  | { type: "leave" }
  | { type: "file"; name: Buffer; attributes: Attributes; size: number }
  | { type: "patch"; name: Buffer; attributes: Attributes; size: number }
  | { type: "hole"; offset: number; length: number }
  | { type: "zeros"; offset: number; length: number }
  | { type: "chunk"; offset: number; bytes: Buffer }
  | { type: "origin"; number: number }
  | { type: "copy"; offset: number; length: number; number: number; from: number }
  | { type: "same"; length: number; hash: Buffer; tree: number; path: Buffer }
  | { type: "fileEnd" }
  | { type: "symlink"; name: Buffer; attributes: Attributes; target: Buffer }
  | { type: "node"; name: Buffer; attributes: Attributes; major: number; minor: number }
  | { type: "link"; name: Buffer; path: Buffer }
  | { type: "remove"; name: Buffer }
  | { type: "attribute"; name: Buffer; value: Buffer };

const typeNumbers = {
  tree: 1,
  directory: 2,
  leave: 3,
  file: 4,
  chunk: 5,
  fileEnd: 6,
  symlink: 7,
  node: 8,
  link: 9,
  remove: 10,
  attribute: 11,
  patch: 12,
  hole: 13,
  zeros: 14,
  // 15: small-file.ts
  origin: 16,
  copy: 17,
  same: 18,
} as const;
const typeNames = new Map(
  Object.entries(typeNumbers).map(([name, number]) => [number as number, name as TreeRecord["type"]]),
);

/** `fresh`: replaces whatever has this name. `prune`: what is in it and not mentioned goes. */
const directoryFlags = { fresh: 1, prune: 2 } as const;
/** What stands before a chunk's bytes. */
export const chunkHeaderBytes = 13;
/** What may be in a file that another is the same as. */
export const maxSameBytes = 128 * 1024;
const hashBytes = 32;
/** With the NUL at its end, as the system takes it. */
export const maxPathBytes = 4096;
const maxValueBytes = 65_536;

/** Bytes a record takes. */
export function recordBytes(record: TreeRecord): number {
  switch (record.type) {
    case "tree":
      return 3;
    case "directory":
      return 2 + attributesBytes + 2 + record.name.length;
    case "leave":
    case "fileEnd":
      return 1;
    case "file":
    case "patch":
      return 9 + attributesBytes + 2 + record.name.length;
    case "hole":
      return 17;
    case "zeros":
      return chunkHeaderBytes;
    case "origin":
      return 5;
    case "copy":
      return 25;
    case "same":
      return 7 + hashBytes + 2 + record.path.length;
    case "chunk":
      return chunkHeaderBytes + record.bytes.length;
    case "symlink":
      return 1 + attributesBytes + 4 + record.name.length + record.target.length;
    case "node":
      return 9 + attributesBytes + 2 + record.name.length;
    case "link":
      return 5 + record.name.length + record.path.length;
    case "remove":
      return 3 + record.name.length;
    case "attribute":
      return 7 + record.name.length + record.value.length;
  }
}

/** Writes a record at `at`, where there must be room for `recordBytes`. Answers where it ends. */
export function writeRecord(buffer: Buffer, at: number, record: TreeRecord): number {
  let end = buffer.writeUInt8(typeNumbers[record.type], at);
  const name = (bytes: Buffer): void => {
    end = buffer.writeUInt16LE(bytes.length, end);
    end += bytes.copy(buffer, end);
  };
  const attributes = (each: Attributes): void => {
    end = writeAttributes(buffer, end, each);
  };
  switch (record.type) {
    case "tree":
      end = buffer.writeUInt16LE(record.index, end);
      break;
    case "directory":
      end = buffer.writeUInt8(
        (record.fresh ? directoryFlags.fresh : 0) | (record.prune ? directoryFlags.prune : 0),
        end,
      );
      attributes(record.attributes);
      name(record.name);
      break;
    case "leave":
    case "fileEnd":
      break;
    case "hole":
      end = buffer.writeBigUInt64LE(BigInt(record.offset), end);
      end = buffer.writeBigUInt64LE(BigInt(record.length), end);
      break;
    case "zeros":
      end = buffer.writeBigUInt64LE(BigInt(record.offset), end);
      end = buffer.writeUInt32LE(record.length, end);
      break;
    case "origin":
      end = buffer.writeUInt32LE(record.number, end);
      break;
    case "copy":
      end = buffer.writeBigUInt64LE(BigInt(record.offset), end);
      end = buffer.writeUInt32LE(record.length, end);
      end = buffer.writeUInt32LE(record.number, end);
      end = buffer.writeBigUInt64LE(BigInt(record.from), end);
      break;
    case "file":
    case "patch":
      end = buffer.writeBigUInt64LE(BigInt(record.size), end);
      attributes(record.attributes);
      name(record.name);
      break;
    case "same":
      end = buffer.writeUInt32LE(record.length, end);
      end += record.hash.copy(buffer, end);
      end = buffer.writeUInt16LE(record.tree, end);
      name(record.path);
      break;
    case "chunk":
      end = writeChunkHeader(buffer, at, record.offset, record.bytes.length);
      end += record.bytes.copy(buffer, end);
      break;
    case "symlink":
      attributes(record.attributes);
      name(record.name);
      name(record.target);
      break;
    case "node":
      end = buffer.writeUInt32LE(record.major, end);
      end = buffer.writeUInt32LE(record.minor, end);
      attributes(record.attributes);
      name(record.name);
      break;
    case "link":
      name(record.name);
      name(record.path);
      break;
    case "remove":
      name(record.name);
      break;
    case "attribute":
      name(record.name);
      end = buffer.writeUInt32LE(record.value.length, end);
      end += record.value.copy(buffer, end);
      break;
  }
  return end;
}

/** A chunk whose bytes are read into place behind it. */
export function writeChunkHeader(buffer: Buffer, at: number, offset: number, length: number): number {
  let end = buffer.writeUInt8(typeNumbers.chunk, at);
  end = buffer.writeBigUInt64LE(BigInt(offset), end);
  return buffer.writeUInt32LE(length, end);
}

/**
 * The records of a frame, one by one; the bytes of chunks are parts of `payload`, all else is copied. Throws FrameError
 * on anything that is no record.
 */
export class RecordReader {
  readonly #bytes: Buffer;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  /** Takes a small file, if that is what comes next: `file` says where it lies in the payload. */
  small(file: SmallFile): boolean {
    if (this.done || this.#bytes[this.#at] !== smallNumber) return false;
    this.#at = readSmall(this.#bytes, this.#view, this.#at, file);
    return true;
  }

  /** Takes what comes next, which is no small file. */
  record(): TreeRecord {
    const number = this.#number(1);
    const type = typeNames.get(number);
    switch (type) {
      case undefined:
        throw new FrameError(`unknown record type ${number}`);
      case "tree":
        return { type, index: this.#number(2) };
      case "directory": {
        const flags = this.#number(1);
        if (flags > 3) throw new FrameError(`unknown directory flags ${flags}`);
        const attributes = this.#attributes();
        const name = this.#take(this.#number(2), maxNameBytes);
        // Without a name it is the root of a tree; where that is allowed, the reader's user knows.
        if (name.length > 0) checkName(name, 0, name.length);
        const own = Buffer.from(name);
        const { fresh, prune } = directoryFlags;
        return { type, attributes, name: own, fresh: (flags & fresh) !== 0, prune: (flags & prune) !== 0 };
      }
      case "leave":
      case "fileEnd":
        return { type };
      case "hole":
        return { type, offset: this.#size(), length: this.#size() };
      case "zeros":
        return { type, offset: this.#size(), length: this.#upTo(maxDataBytes, this.#number(4)) };
      case "origin":
        return { type, number: this.#number(4) };
      case "copy":
        return {
          type,
          offset: this.#size(),
          length: this.#upTo(maxDataBytes, this.#number(4)),
          number: this.#number(4),
          from: this.#size(),
        };
      case "same":
        return {
          type,
          length: this.#upTo(maxSameBytes, this.#number(4)),
          hash: Buffer.from(this.#take(hashBytes, hashBytes)),
          tree: this.#number(2),
          path: this.#path(),
        };
      case "file":
      case "patch":
        return { type, size: this.#size(), attributes: this.#attributes(), name: this.#name() };
      case "chunk":
        return { type, offset: this.#size(), bytes: this.#take(this.#number(4), maxDataBytes) };
      case "symlink":
        return { type, attributes: this.#attributes(), name: this.#name(), target: this.#path() };
      case "node":
        return {
          type,
          major: this.#number(4),
          minor: this.#number(4),
          attributes: this.#attributes(),
          name: this.#name(),
        };
      case "link":
        return { type, name: this.#name(), path: this.#path() };
      case "remove":
        return { type, name: this.#name() };
      case "attribute": {
        const name = this.#take(this.#number(2), maxNameBytes);
        if (name.length === 0 || name.includes(0)) throw new FrameError("a malformed attribute name");
        return { type, name: Buffer.from(name), value: Buffer.from(this.#take(this.#number(4), maxValueBytes)) };
      }
    }
  }

  /** Steps over so many bytes; answers where they begin. */
  #step(length: number): number {
    const at = this.#at;
    if (at + length > this.#bytes.length) throw new FrameError("a record is cut short");
    this.#at += length;
    return at;
  }

  #take(length: number, most: number): Buffer {
    const at = this.#step(this.#upTo(most, length));
    return this.#bytes.subarray(at, at + length);
  }

  #upTo(most: number, length: number): number {
    if (length > most) throw new FrameError(`${length} bytes where ${most} are allowed`);
    return length;
  }

  #number(width: 1 | 2 | 4): number {
    const at = this.#step(width);
    if (width === 1) return this.#view.getUint8(at);
    return width === 2 ? this.#view.getUint16(at, true) : this.#view.getUint32(at, true);
  }

  #size(): number {
    const at = this.#step(8);
    const size = this.#view.getUint32(at, true) + this.#view.getUint32(at + 4, true) * 2 ** 32;
    if (size > Number.MAX_SAFE_INTEGER) throw new FrameError(`a size of ${size} bytes`);
    return size;
  }

  #attributes(): Attributes {
    return readAttributes(this.#view, this.#step(attributesBytes));
  }

  #name(): Buffer {
    const name = this.#take(this.#number(2), maxNameBytes);
    checkName(name, 0, name.length);
    return Buffer.from(name);
  }

  #path(): Buffer {
    const path = this.#take(this.#number(2), maxPathBytes);
    if (path.length === 0 || path.includes(0)) throw new FrameError("a malformed path");
    return Buffer.from(path);
  }
}
