/**
 * Mends a loss of CRIU's (seen up to 4.2): a periodic timerfd whose tick was pending when it was dumped is stored with
 * it_value 0, and timerfd_settime with it_value 0 disarms: after the restore the timer would never fire again. The cure
 * is it_value = it_interval; the pending tick itself is stored apart, and CRIU does restore it.
 *
 * The image is edited field by field on the bytes, so that fields we know nothing of stay what they are.
 */
import protobuf from "protobufjs";
import { CriuImageError, encodeImage, imageMessages } from "./image.ts";

/** Field numbers of CRIU's file_entry and timerfd_entry. */
const fileTimerfd = 12;
const timer = { valueSec: 7, valueNsec: 8, intervalSec: 9, intervalNsec: 10 } as const;

const wireVarint = 0;
const wireBytes = 2;

interface Field {
  id: number;
  wire: number;
  /** The whole field with its tag. */
  raw: Uint8Array;
  /** Content of a length-delimited field, or of a varint. */
  value: Uint8Array;
}

/** `image` is files.img. Returns it as it was when there is nothing to mend. Throws CriuImageError. */
export function mendTimerfds(image: Buffer): { image: Buffer; mended: number } {
  let mended = 0;
  const messages = Array.from(imageMessages("files", image), (message) => {
    const fields = split(message);
    const at = fields.findIndex(({ id, wire }) => id === fileTimerfd && wire === wireBytes);
    const timerfd = fields[at];
    if (timerfd === undefined) return message;
    const repaired = mendTimer(timerfd.value);
    if (repaired === undefined) return message;
    mended += 1;
    const writer = protobuf.Writer.create()
      .uint32((fileTimerfd << 3) | wireBytes)
      .bytes(repaired);
    return Buffer.concat(fields.map((field, index) => (index === at ? writer.finish() : field.raw)));
  });
  return mended === 0 ? { image, mended } : { image: encodeImage("files", messages), mended };
}

/** The mended timerfd_entry, or undefined when this timer is sound. */
function mendTimer(entry: Uint8Array): Uint8Array | undefined {
  const fields = split(entry);
  const varint = (id: number): Uint8Array | undefined =>
    fields.findLast((field) => field.id === id && field.wire === wireVarint)?.value;
  const isZero = (bytes: Uint8Array | undefined): boolean =>
    bytes === undefined || bytes.every((b) => (b & 0x7f) === 0);
  if (!isZero(varint(timer.valueSec)) || !isZero(varint(timer.valueNsec))) return undefined;
  const seconds = varint(timer.intervalSec);
  const nanoseconds = varint(timer.intervalNsec);
  if (isZero(seconds) && isZero(nanoseconds)) return undefined;
  const parts = fields.filter(({ id }) => id !== timer.valueSec && id !== timer.valueNsec).map(({ raw }) => raw);
  // A varint means the same under another field's tag, so the interval's bytes are taken over as they are.
  const zero = Uint8Array.of(0);
  const tag = (id: number): Uint8Array => Uint8Array.of((id << 3) | wireVarint);
  return Buffer.concat([...parts, tag(timer.valueSec), seconds ?? zero, tag(timer.valueNsec), nanoseconds ?? zero]);
}

/** The fields of an encoded message, in order. */
function split(message: Uint8Array): Field[] {
  const reader = protobuf.Reader.create(message);
  const fields: Field[] = [];
  try {
    while (reader.pos < reader.len) {
      const start = reader.pos;
      const tag = reader.uint32();
      const wire = tag & 7;
      const valueAt = reader.pos;
      const content = wire === wireBytes ? reader.bytes() : undefined;
      if (content === undefined) reader.skipType(wire);
      fields.push({
        id: tag >>> 3,
        wire,
        raw: message.subarray(start, reader.pos),
        value: content ?? message.subarray(valueAt, reader.pos),
      });
    }
  } catch (cause) {
    throw new CriuImageError("the files image has a message that does not decode", { cause });
  }
  return fields;
}
