/** The destination's side of a data connection: connect, authenticate, greet. */
import { once } from "node:events";
import type { Endpoint } from "../contracts/common.ts";
import type { LinkSecurity } from "../contracts/shipper.ts";
import { FrameError, frameTypes } from "../core/frames/frame.ts";
import { encodeHello, type Role } from "../core/frames/page-message.ts";
import { DmigrateError, messageOf } from "../errors.ts";
import { openFedLink, type FedLink, type FramedLink, type FrameHandler } from "./framed.ts";
import { connectPlain } from "./plain-psk.ts";
import { connectPsk } from "./tls-psk.ts";

const welcomeTimeoutMs = 5_000;

export interface DialOptions {
  migrationId: string;
  secret: string;
  source: Endpoint;
  role: Role;
  signal: AbortSignal;
  /** TLS, unless the source was told to take connections without encryption. */
  security?: LinkSecurity;
  /** Gives the memory for payloads, when it is not to be new each time. */
  allocate?: (bytes: number) => Buffer;
}

/**
 * Resolves once the source has welcomed this side; `onFrame` gets all that comes after. Aborting `signal` closes the
 * link, also later. Throws `unavailable`, `unauthorized` or `cancelled`.
 */
export async function openLink(options: DialOptions, onFrame: FrameHandler): Promise<FramedLink> {
  const { migrationId, secret, source, role, signal, security = "tls" } = options;
  const connect = security === "tls" ? connectPsk : connectPlain;
  const fed: { link?: FedLink } = {};
  const socket = await connect({
    source,
    identity: migrationId,
    key: Buffer.from(secret, "hex"),
    role,
    signal,
    // Nothing comes before this side has greeted.
    onBytes: (bytes) => fed.link?.receive(bytes),
  });
  const welcomed = new EventTarget();
  let welcome = false;
  const link = openFedLink(
    socket,
    (frame) => {
      if (welcome) return onFrame(frame);
      if (frame.type !== frameTypes.welcome) throw new FrameError("the source did not welcome this side");
      welcome = true;
      welcomed.dispatchEvent(new Event("welcome"));
    },
    options.allocate,
  );
  fed.link = link;
  const abort = (): void => link.close(new DmigrateError("cancelled", "the data connection was cancelled"));
  signal.addEventListener("abort", abort, { once: true });
  void link.closed.then(() => signal.removeEventListener("abort", abort));
  link.write(frameTypes.hello, 0, encodeHello(role));
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), welcomeTimeoutMs);
  try {
    await Promise.race([
      once(welcomed, "welcome", { signal: timeout.signal }),
      link.closed.then((reason) => {
        throw reason ?? new Error("the connection was closed");
      }),
    ]);
    return link;
  } catch (cause) {
    link.close(new Error("no welcome"));
    const where = `${source.host}:${source.port}`;
    if (signal.aborted) throw new DmigrateError("cancelled", `the connection to ${where} was cancelled`, { cause });
    throw new DmigrateError("unavailable", `${where} did not take the ${role} connection: ${messageOf(cause)}`, {
      cause,
    });
  } finally {
    clearTimeout(timer);
    timeout.abort();
  }
}
