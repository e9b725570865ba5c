/**
 * The first bytes of a data connection, in the clear: how it goes on, and what it is for. They prove nothing by
 * themselves, but the keys of what follows depend on them: to change one on the way is to break the connection.
 *
 *     "DMGL", u8 protocol version, u8 security (1 TLS, 2 plain), u8 role (its place below, from 1 on)
 */
import type { LinkSecurity } from "../contracts/shipper.ts";

const furtherReaders = ["pages-2", "pages-3", "pages-4", "pages-5", "pages-6", "pages-7", "pages-8"] as const;

/** Of connections for pages in bulk: each is served by a reader of its own. */
export const readerRoles = ["pages", ...furtherReaders] as const;
export type ReaderRole = (typeof readerRoles)[number];

/** `faults` is for pages that somebody waits for: nothing bulky goes over it. */
export const roles = ["files", "pages", "faults", ...furtherReaders] as const;
export type Role = (typeof roles)[number];

export interface Preamble {
  security: LinkSecurity;
  role: Role;
}

export const protocolVersion = 9;
const magic = Buffer.from("DMGL");
const securities = ["tls", "plain"] as const;
export const preambleBytes = magic.length + 3;

export const encodePreamble = ({ security, role }: Preamble): Buffer =>
  Buffer.from([...magic, protocolVersion, securities.indexOf(security) + 1, roles.indexOf(role) + 1]);

/** Throws when it is none, or of another version. */
export function decodePreamble(bytes: Buffer): Preamble {
  if (!bytes.subarray(0, magic.length).equals(magic)) throw new Error("the peer speaks another protocol");
  const version = bytes.readUInt8(magic.length);
  if (version !== protocolVersion)
    throw new Error(`the peer speaks version ${version} of the data protocol, this side ${protocolVersion}`);
  const security = securities[bytes.readUInt8(magic.length + 1) - 1];
  const role = roles[bytes.readUInt8(magic.length + 2) - 1];
  if (security === undefined || role === undefined) throw new Error("the peer speaks another protocol");
  return { security, role };
}
