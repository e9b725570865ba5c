/** CRIU images made up by hand, byte by byte: the oracle of the decoders. */
const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value >>> 0);
  return bytes;
};

/** Protobuf: a field whose value is a varint. */
export function varintField(id: number, value: bigint | number): Buffer {
  return Buffer.concat([varint(BigInt(id << 3)), varint(BigInt(value))]);
}

/** Protobuf: a field of bytes, a string or a message. */
export function bytesField(id: number, value: Buffer): Buffer {
  return Buffer.concat([varint(BigInt((id << 3) | 2)), varint(BigInt(value.length)), value]);
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let left = value;
  for (; left > 0x7fn; left >>= 7n) bytes.push(Number(left & 0x7fn) | 0x80);
  bytes.push(Number(left));
  return Buffer.from(bytes);
}

const common = 0x54564319;
const image = (words: number[], messages: Buffer[]): Buffer =>
  Buffer.concat([...words.map(u32), ...messages.flatMap((message) => [u32(message.length), message])]);

export const inventoryImage = (version = 2): Buffer => image([0x58313116], [varintField(1, version)]);

export const pstreeImage = (pids: readonly number[]): Buffer =>
  image(
    [common, 0x50273030],
    pids.map((pid) => Buffer.concat([1, 2, 3, 4, 5].map((id) => varintField(id, id === 2 ? 0 : pid)))),
  );

export interface FakePagemapEntry {
  page: number;
  pages: number;
  flags?: number;
  inParent?: boolean;
  /** As CRIU before 4.2 writes it: only the 32-bit count. */
  compat?: boolean;
}

export const pagemapImage = (entries: readonly FakePagemapEntry[]): Buffer =>
  image(
    [common, 0x56084025],
    [
      varintField(1, 1),
      ...entries.map(({ page, pages, flags, inParent, compat = false }) =>
        Buffer.concat([
          varintField(1, BigInt(page) * 4096n),
          varintField(2, compat ? pages : 0),
          ...(inParent === undefined ? [] : [varintField(3, inParent ? 1 : 0)]),
          ...(flags === undefined ? [] : [varintField(4, flags)]),
          ...(compat ? [] : [varintField(5, pages)]),
        ]),
      ),
    ],
  );

export const filesImage = (entries: readonly Buffer[]): Buffer => image([common, 0x56303138], [...entries]);
