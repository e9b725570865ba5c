/** Against Node's own AES-GCM, which is made of the same library by another way. */
import { createCipheriv, randomBytes } from "node:crypto";
import fc from "fast-check";
import koffi from "koffi";
import { describe, expect, test } from "vitest";
import { keyBytes } from "../../../services/shared/adapters/aes-gcm.ts";
import { GcmCipher, recordKeyBytes, recordKeyOf } from "../../../services/shared/adapters/record-cipher.ts";
import { maxRecordBytes, recordHeadBytes, type RecordCipher } from "../../../services/shared/core/frames/record.ts";
import { keysOf, sessionKeyBytes } from "../../../services/shared/link/connection.ts";
import { cipherPair, sealRecord } from "../../helpers/cipher-pair.ts";

const tagBytes = 16;
const material = randomBytes(recordKeyBytes);
const key = recordKeyOf(material);

/** The nonce as RFC 8446, 5.3 says: the connection's, and the record's number, padded on the left, mixed in. */
function sealByNode(bytes: Buffer, sequence: bigint): Buffer {
  const nonce = Buffer.from(material.subarray(keyBytes));
  const number = Buffer.alloc(12);
  number.writeBigUInt64BE(sequence, 4);
  for (const [at, byte] of number.entries()) nonce[at] = (nonce[at] ?? 0) ^ byte;
  const head = Buffer.alloc(recordHeadBytes);
  head.writeUInt32LE(bytes.length);
  const cipher = createCipheriv("aes-128-gcm", material.subarray(0, keyBytes), nonce);
  cipher.setAAD(head);
  return Buffer.concat([head, cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
}

const open = (cipher: RecordCipher, record: Buffer): boolean =>
  cipher.open(koffi.address(record), record.length - recordHeadBytes - cipher.tagBytes);
const held = (record: Buffer, tag = tagBytes): Buffer => record.subarray(recordHeadBytes, record.length - tag);
const copyOf = (record: Buffer): Buffer => {
  const copy = Buffer.allocUnsafeSlow(record.length);
  record.copy(copy);
  return copy;
};

describe("a sealed record", () => {
  test("is what Node seals under the same key, nonce and head, one record after the other", () => {
    const [sealer, opener] = [new GcmCipher("seal", key), new GcmCipher("open", key)];
    for (const [sequence, length] of [16, 17, 31, 32, 4_096, 100_003, maxRecordBytes].entries()) {
      const bytes = randomBytes(length);
      const record = sealRecord(sealer, bytes);
      expect(record.equals(sealByNode(bytes, BigInt(sequence)))).toBe(true);
      expect(open(opener, record)).toBe(true);
      expect(held(record).equals(bytes)).toBe(true);
    }
    for (const cipher of [sealer, opener]) cipher.close();
  });

  test("is so after many others too", () => {
    const sealer = new GcmCipher("seal", key);
    const bytes = randomBytes(16);
    const looked = new Set([255, 256, 257, 65_535, 65_536, 65_537]);
    for (let sequence = 0; sequence <= 65_537; sequence++) {
      const record = sealRecord(sealer, bytes);
      if (looked.has(sequence)) expect(record).toEqual(sealByNode(bytes, BigInt(sequence)));
    }
    sealer.close();
  });

  test("of Node's making opens", () => {
    const opener = new GcmCipher("open", key);
    for (const sequence of [0n, 1n, 2n]) {
      const bytes = randomBytes(300);
      const record = copyOf(sealByNode(bytes, sequence));
      expect(open(opener, record)).toBe(true);
      expect(held(record).equals(bytes)).toBe(true);
    }
    opener.close();
  });

  test("leaves what it was made of as it was", () => {
    const sealer = new GcmCipher("seal", key);
    const bytes = randomBytes(1_000);
    const before = Buffer.from(bytes);
    sealRecord(sealer, bytes);
    expect(bytes.equals(before)).toBe(true);
    sealer.close();
  });

  test("does not open when any of its bytes was changed, its head among them", () => {
    const sealer = new GcmCipher("seal", key);
    const record = sealRecord(sealer, randomBytes(40));
    for (let at = 0; at < record.length; at++) {
      const changed = copyOf(record);
      changed[at] = (changed[at] ?? 0) ^ (1 << (at % 8));
      const opener = new GcmCipher("open", key);
      expect(open(opener, changed)).toBe(false);
      opener.close();
    }
    const opener = new GcmCipher("open", key);
    expect(open(opener, record)).toBe(true);
    for (const cipher of [sealer, opener]) cipher.close();
  });

  test("opens in its turn alone: not after one was left out, twice, or before another", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(4), { minLength: 1, maxLength: 5 }), (order) => {
        const [sealer, opener] = [new GcmCipher("seal", key), new GcmCipher("open", key)];
        const records = Array.from({ length: 5 }, (_each, at) => sealRecord(sealer, Buffer.alloc(20, at)));
        for (const [turn, at] of order.entries()) {
          const record = records[at];
          if (record === undefined) throw new Error("no record");
          const isDue = at === turn;
          expect(open(opener, copyOf(record))).toBe(isDue);
          if (!isDue) break;
        }
        for (const cipher of [sealer, opener]) cipher.close();
      }),
    );
  });

  test("does not open by another key, nor by another nonce", () => {
    const sealer = new GcmCipher("seal", key);
    const record = sealRecord(sealer, randomBytes(40));
    for (const at of [0, keyBytes - 1, keyBytes, recordKeyBytes - 1]) {
      const other = Buffer.from(material);
      other[at] = (other[at] ?? 0) ^ 1;
      const opener = new GcmCipher("open", recordKeyOf(other));
      expect(open(opener, copyOf(record))).toBe(false);
      opener.close();
    }
    sealer.close();
  });
});

describe("a connection's keys", () => {
  test("are others for each direction, and each end's are the other's turned round", () => {
    const session = randomBytes(sessionKeyBytes);
    const [destination, source] = [keysOf(session, "destination", "encrypt"), keysOf(session, "source", "encrypt")];
    expect(destination.send).toEqual(source.receive);
    expect(destination.receive).toEqual(source.send);
    const [there, back] = [recordKeyOf(Buffer.from(destination.send)), recordKeyOf(Buffer.from(destination.receive))];
    expect(there.key.equals(back.key)).toBe(false);
    expect(there.nonce.equals(back.nonce)).toBe(false);
    expect(Buffer.concat([there.key, there.nonce, back.key, back.nonce])).toEqual(session);
  });

  test("do not open what its own end has sealed", () => {
    const [destination, source] = cipherPair();
    const record = sealRecord(destination.send, randomBytes(40));
    expect(open(destination.receive, copyOf(record))).toBe(false);
    expect(open(source.receive, copyOf(record))).toBe(true);
    for (const cipher of [destination.send, destination.receive, source.send, source.receive]) cipher.close();
  });

  test("hide nothing on a link that is trusted, but what is changed, repeated or cut does not open", () => {
    const bytes = randomBytes(1_000);
    for (let at = 0; at < 1_000; at += 37) {
      const [{ send }, { receive }] = cipherPair("plain");
      const record = sealRecord(send, bytes);
      expect(held(record).equals(bytes)).toBe(true);
      const changed = copyOf(record);
      changed[at] = (changed[at] ?? 0) ^ 1;
      expect(open(receive, at % 2 === 0 ? changed : copyOf(record).subarray(0, -1))).toBe(false);
      for (const cipher of [send, receive]) cipher.close();
    }
    const [{ send }, { receive }] = cipherPair("plain");
    const record = sealRecord(send, bytes);
    expect(open(receive, copyOf(record))).toBe(true);
    expect(held(record).equals(bytes)).toBe(true);
    expect(open(receive, copyOf(record))).toBe(false);
    for (const cipher of [send, receive]) cipher.close();
  });

  test("tag on a link that is trusted as Node does for bytes that are not hidden", () => {
    const sealer = new GcmCipher("seal", key, "authenticate");
    const bytes = randomBytes(5_000);
    const record = sealRecord(sealer, bytes);
    const cipher = createCipheriv("aes-128-gcm", material.subarray(0, keyBytes), material.subarray(keyBytes));
    cipher.setAAD(record.subarray(0, recordHeadBytes + bytes.length));
    cipher.final();
    expect(record.subarray(-tagBytes)).toEqual(cipher.getAuthTag());
    sealer.close();
  });

  test("are gone once they are closed, however often", () => {
    for (const direction of ["seal", "open"] as const) {
      const cipher = new GcmCipher(direction, key);
      cipher.close();
      cipher.close();
      const record = Buffer.allocUnsafeSlow(100);
      const use = (): unknown =>
        direction === "seal" ? sealRecord(cipher, randomBytes(20)) : cipher.open(koffi.address(record), 20);
      expect(use).toThrow("the connection's keys are gone");
    }
  });
});
