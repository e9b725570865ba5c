/**
 * The first bytes of a data connection, in the clear: how it goes on, and what it is for. By them the source gives it to
 * whoever serves its kind, before anything is deciphered. They prove nothing; the greeting repeats the role.
 *
 *     "DMGL", u8 security (1 TLS, 2 plain), u8 role
 */
import type { LinkSecurity } from "../contracts/shipper.ts";
import { roles, type Role } from "../core/frames/page-message.ts";

export interface Preamble {
  security: LinkSecurity;
  role: Role;
}

const magic = Buffer.from("DMGL");
const securities = ["tls", "plain"] as const;
export const preambleBytes = magic.length + 2;

export const encodePreamble = ({ security, role }: Preamble): Buffer =>
  Buffer.from([...magic, securities.indexOf(security) + 1, roles.indexOf(role) + 1]);

/** Throws when it is none. */
export function decodePreamble(bytes: Buffer): Preamble {
  const security = securities[bytes.readUInt8(magic.length) - 1];
  const role = roles[bytes.readUInt8(magic.length + 1) - 1];
  if (!bytes.subarray(0, magic.length).equals(magic) || security === undefined || role === undefined)
    throw new Error("the peer speaks another protocol");
  return { security, role };
}
