/** What the two ends of a connection seal and open their records with, and records made by hand. */
import { randomBytes } from "node:crypto";
import koffi from "koffi";
import { recordHeadBytes, type RecordCipher } from "../../services/shared/core/frames/record.ts";
import {
  ciphersOf,
  keysOf,
  sessionKeyBytes,
  type Ciphers,
  type Connection,
} from "../../services/shared/link/connection.ts";

/** Of the destination, and of the source. */
export function keyPair(security: "tls" | "plain"): [Connection["keys"], Connection["keys"]] {
  const material = randomBytes(sessionKeyBytes);
  const protection = security === "tls" ? "encrypt" : "authenticate";
  return [keysOf(material, "destination", protection), keysOf(material, "source", protection)];
}

export function cipherPair(security: "tls" | "plain" = "tls"): [Ciphers, Ciphers] {
  const [left, right] = keyPair(security);
  return [ciphersOf({ keys: left }), ciphersOf({ keys: right })];
}

/** A record that holds these bytes. */
export function sealRecord(cipher: RecordCipher, bytes: Buffer): Buffer {
  const record = Buffer.allocUnsafeSlow(recordHeadBytes + bytes.length + cipher.tagBytes);
  record.writeUInt32LE(bytes.length);
  cipher.seal(koffi.address(record), bytes.length, koffi.address(bytes));
  return record;
}
