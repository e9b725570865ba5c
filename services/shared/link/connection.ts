/** A data connection whose two ends have proved who they are: its descriptor, and what its records are sealed with. */
import { closeSync } from "node:fs";
import { GcmCipher, recordKeyBytes, recordKeyOf, type Protection } from "../adapters/record-cipher.ts";
import type { RecordCipher } from "../core/frames/record.ts";

/** Can be given to another thread. */
export interface Connection {
  /** The holder's to close. */
  fd: number;
  /** What was read from it and not used. */
  ahead: Uint8Array;
  keys: Keys;
}

/** Key material of this end's direction and the other's, and what it is for. */
export interface Keys {
  send: Uint8Array;
  receive: Uint8Array;
  protection: Protection;
}

export interface Ciphers {
  send: RecordCipher;
  receive: RecordCipher;
}

/** Bytes of key material for both directions: first what the destination sends, then what the source does. */
export const sessionKeyBytes = 2 * recordKeyBytes;

/** Cuts key material for one end. */
export function keysOf(material: Buffer, side: "source" | "destination", protection: Protection): Keys {
  const [first, second] = [material.subarray(0, recordKeyBytes), material.subarray(recordKeyBytes, sessionKeyBytes)];
  const [send, receive] = side === "destination" ? [first, second] : [second, first];
  return { send, receive, protection };
}

/** For one connection, once: both ends count its records. */
export function ciphersOf({ keys }: Pick<Connection, "keys">): Ciphers {
  return {
    send: new GcmCipher("seal", recordKeyOf(Buffer.from(keys.send)), keys.protection),
    receive: new GcmCipher("open", recordKeyOf(Buffer.from(keys.receive)), keys.protection),
  };
}

/** Closes one that nobody uses. */
export const closeConnection = ({ fd }: Connection): void => closeSync(fd);
