/**
 * The framing of CRIU's images: two magic words (what kind of file it is), then protobuf messages, each after its
 * length as u32, all little-endian. The inventory alone has one magic word. Images come over the network: every length
 * is checked against the bytes that are there.
 */

/** Magic words that CRIU writes (they are coordinates of towns). */
const commonMagic = 0x54564319;
export const imageMagic = {
  inventory: 0x58313116,
  pstree: 0x50273030,
  pagemap: 0x56084025,
  mm: 0x57492820,
  files: 0x56303138,
  ids: 0x54432030,
  netns: 0x55933752,
} as const;

export type ImageKind = keyof typeof imageMagic;

/** An image that is cut short, of another kind, or not an image at all. */
export class CriuImageError extends Error {
  override readonly name = "CriuImageError";
}

/** The bytes before the first message. */
export function preambleBytes(kind: ImageKind): number {
  return kind === "inventory" ? 4 : 8;
}

/** The encoded messages of an image, as views into it. Throws CriuImageError. */
export function* imageMessages(kind: ImageKind, image: Buffer): Generator<Buffer> {
  let at = preambleBytes(kind);
  if (image.length < at) throw new CriuImageError(`the ${kind} image is cut short: it has ${image.length} bytes`);
  const words = kind === "inventory" ? [imageMagic.inventory] : [commonMagic, imageMagic[kind]];
  words.forEach((word, index) => {
    if (image.readUInt32LE(index * 4) !== word)
      throw new CriuImageError(`this is no ${kind} image of CRIU: its first bytes are wrong`);
  });
  while (at < image.length) {
    if (image.length - at < 4) throw new CriuImageError(`the ${kind} image is cut short at byte ${at}`);
    const end = at + 4 + image.readUInt32LE(at);
    if (end > image.length) throw new CriuImageError(`the ${kind} image is cut short: a message ends at byte ${end}`);
    yield image.subarray(at + 4, end);
    at = end;
  }
}

/** Puts messages into an image of this kind: the inverse of `imageMessages`. */
export function encodeImage(kind: ImageKind, messages: readonly Uint8Array[]): Buffer {
  const words = kind === "inventory" ? [imageMagic.inventory] : [commonMagic, imageMagic[kind]];
  return Buffer.concat([...words.map(u32), ...messages.flatMap((message) => [u32(message.length), message])]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
