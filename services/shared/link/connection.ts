/** A data connection whose two ends have proved who they are: its descriptor, and what its records are sealed with. */
import { closeSync } from "node:fs";
import { GcmCipher, openCipher, recordKeyBytes, recordKeyOf } from "../adapters/record-cipher.ts";
import type { RecordCipher } from "../core/frames/record.ts";

/** Can be given to another thread. */
export interface Connection {
  /** The holder's to close. */
  fd: number;
  /** What was read from it and not used. */
  ahead: Uint8Array;
  /** Key material of this end's direction and the other's; undefined without encryption. */
  keys: { send: Uint8Array; receive: Uint8Array } | undefined;
}

export interface Ciphers {
  send: RecordCipher;
  receive: RecordCipher;
}

/** Bytes of key material for both directions: first what the destination sends, then what the source does. */
export const sessionKeyBytes = 2 * recordKeyBytes;

/** Cuts key material for one end. */
export function keysOf(material: Buffer, side: "source" | "destination"): { send: Uint8Array; receive: Uint8Array } {
  const [first, second] = [material.subarray(0, recordKeyBytes), material.subarray(recordKeyBytes, sessionKeyBytes)];
  return side === "destination" ? { send: first, receive: second } : { send: second, receive: first };
}

/** For one connection, once: both ends count its records. */
export function ciphersOf({ keys }: Pick<Connection, "keys">): Ciphers {
  if (keys === undefined) return { send: openCipher, receive: openCipher };
  return {
    send: new GcmCipher("seal", recordKeyOf(Buffer.from(keys.send))),
    receive: new GcmCipher("open", recordKeyOf(Buffer.from(keys.receive))),
  };
}

/** Closes one that nobody uses. */
export const closeConnection = ({ fd }: Connection): void => closeSync(fd);
