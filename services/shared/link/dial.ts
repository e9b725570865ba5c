/** The destination's side of a data connection: connect, and prove to know the secret. */
import type { Endpoint } from "../contracts/common.ts";
import type { LinkSecurity } from "../contracts/shipper.ts";
import { DmigrateError } from "../errors.ts";
import { closeConnection, type Connection } from "./connection.ts";
import { openConnection, type FramedLink, type FramedLinkOptions } from "./framed.ts";
import { connectPlain } from "./plain-psk.ts";
import type { Role } from "./preamble.ts";
import { connectPsk } from "./tls-psk.ts";

export interface DialOptions {
  migrationId: string;
  /** 64 hex digits. */
  secret: string;
  /** The source shipper's data port. */
  source: Endpoint;
  role: Role;
  signal: AbortSignal;
  /** TLS, unless the source was told to take connections without encryption. */
  security?: LinkSecurity;
}

/** Resolves once the source has taken this side. Throws `unavailable`, `unauthorized` or `cancelled`. */
export function dial({ migrationId, secret, security = "tls", ...rest }: DialOptions): Promise<Connection> {
  const connect = security === "tls" ? connectPsk : connectPlain;
  return connect({ ...rest, identity: migrationId, key: Buffer.from(secret, "hex") });
}

/** The same, on the event loop. Aborting `signal` closes the link, also later. */
export async function openLink(options: DialOptions, handling: FramedLinkOptions): Promise<FramedLink> {
  const connection = await dial(options);
  let link: FramedLink;
  try {
    link = openConnection(connection, handling);
  } catch (error) {
    closeConnection(connection);
    throw error;
  }
  const { signal } = options;
  const abort = (): void => link.close(new DmigrateError("cancelled", "the data connection was cancelled"));
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort, { once: true });
  void link.closed.then(() => signal.removeEventListener("abort", abort));
  return link;
}
