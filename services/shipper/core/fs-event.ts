/**
 * What fanotify and inotify say, as bytes from the kernel (linux/fanotify.h, linux/inotify.h). Fanotify names files by
 * handles; where a file system's handles hold the inode's number, that is all that is needed of them.
 */

/** The 8 bytes of an inode's number as latin1, as in `TreeEntry.identity`. */
export type InodeBytes = string;

export interface FileHandle {
  type: number;
  bytes: Buffer;
}

export type FanotifyEvent =
  | { kind: "overflow" }
  /** `directory` and `name`: where an entry was made, removed or changed. `object`: the file itself. */
  | { kind: "change"; directory?: FileHandle; name?: string; object?: FileHandle };

export type InotifyEvent =
  { kind: "overflow" } | { kind: "unmounted" } | { kind: "change"; watch: number; name: string };

const metadataVersion = 3;
const queueOverflow = 0x4000;
const inotifyUnmounted = 0x2000;
const inotifyIgnored = 0x8000;
const info = { object: 1, directoryAndName: 2, directory: 3 } as const;

/** The events of one read. Throws RangeError on bytes that are none. */
export function* readFanotify(bytes: Buffer): Generator<FanotifyEvent, void, void> {
  for (let at = 0; at < bytes.length;) {
    const length = bytes.readUInt32LE(at);
    if (bytes[at + 4] !== metadataVersion || length < 24 || at + length > bytes.length)
      throw new RangeError("not an event of fanotify");
    const headerBytes = bytes.readUInt16LE(at + 6);
    const event = bytes.subarray(at, at + length);
    at += length;
    yield (event.readUInt32LE(8) & queueOverflow) !== 0 ? { kind: "overflow" } : readChange(event, headerBytes);
  }
}

function readChange(event: Buffer, headerBytes: number): FanotifyEvent {
  const change: FanotifyEvent = { kind: "change" };
  for (let at = headerBytes; at + 20 <= event.length;) {
    const type = event.readUInt8(at);
    const end = at + event.readUInt16LE(at + 2);
    if (end <= at || end > event.length) throw new RangeError("a malformed event of fanotify");
    // After the file system's id: the handle's length, its type, its bytes; then the name.
    const handleEnd = at + 20 + event.readUInt32LE(at + 12);
    if (handleEnd > end) throw new RangeError("a malformed handle in an event of fanotify");
    const handle = { type: event.readInt32LE(at + 16), bytes: event.subarray(at + 20, handleEnd) };
    if (type === info.object) change.object = handle;
    else if (type === info.directory || type === info.directoryAndName) change.directory = handle;
    if (type === info.directoryAndName) change.name = untilNul(event.subarray(handleEnd, end));
    at = end;
  }
  return change;
}

/** The events of one read. */
export function* readInotify(bytes: Buffer): Generator<InotifyEvent, void, void> {
  for (let at = 0; at + 16 <= bytes.length;) {
    const mask = bytes.readUInt32LE(at + 4);
    const end = at + 16 + bytes.readUInt32LE(at + 12);
    const name = untilNul(bytes.subarray(at + 16, end));
    if ((mask & queueOverflow) !== 0) yield { kind: "overflow" };
    else if ((mask & inotifyUnmounted) !== 0) yield { kind: "unmounted" };
    else if ((mask & inotifyIgnored) === 0) yield { kind: "change", watch: bytes.readInt32LE(at), name };
    at = end;
  }
}

/** Types of handles (linux/exportfs.h). */
const handleTypes = { inode32: 0x01, btrfs: 0x4d, xfs: 0x81 } as const;

/** The inode that a handle is of; undefined for a kind of handle whose inside is not known here. */
export function inodeOf({ type, bytes }: FileHandle): InodeBytes | undefined {
  switch (type) {
    case handleTypes.inode32:
      // ext4 and most others: number, generation. tmpfs: generation, then both halves of the number.
      if (bytes.length === 8) return `${bytes.toString("latin1", 0, 4)}\0\0\0\0`;
      return bytes.length === 12 ? bytes.toString("latin1", 4, 12) : undefined;
    case handleTypes.btrfs:
    case handleTypes.xfs:
      return bytes.length >= 12 ? bytes.toString("latin1", 0, 8) : undefined;
    default:
      return undefined;
  }
}

function untilNul(bytes: Buffer): string {
  const end = bytes.indexOf(0);
  return bytes.toString("latin1", 0, end < 0 ? bytes.length : end);
}
