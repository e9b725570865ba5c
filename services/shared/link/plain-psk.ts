/**
 * A connection without encryption, for a link that is trusted. Both ends still prove that they know the migration's
 * secret, each by a code over what both have said, with fresh random bytes of both, so that nothing recorded serves again:
 *
 *     destination   preamble, 32 random bytes, u8 length, identity
 *     source        32 random bytes, HMAC-SHA256("source", all so far)
 *     destination   HMAC-SHA256("destination", all so far but the source's code)
 *
 * Then records (core/frames/record.ts), each with a tag by keys that are made of the secret and all that was said: they can be
 * read on their way, but not changed.
 */
import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { takeOut } from "../adapters/socket-handover.ts";
import { DmigrateError, messageOf } from "../errors.ts";
import { connectFailure, handshakeTimeoutMs, tune, type ConnectOptions } from "./connect.ts";
import { keysOf, sessionKeyBytes, type Connection, type Keys } from "./connection.ts";
import { encodePreamble } from "./preamble.ts";

const nonceBytes = 32;
const codeBytes = 32;

/** The source's side, after the preamble: answers whom the peer has proved to be. Throws when it has not, or takes too long. */
export async function acceptPlain(
  socket: Socket,
  preamble: Buffer,
  keyOf: (identity: string) => Buffer | undefined,
  signal: AbortSignal,
): Promise<{ identity: string; keys: Keys }> {
  const head = await readExactly(socket, nonceBytes + 1, signal);
  const identity = await readExactly(socket, head.at(-1) ?? 0, signal);
  const key = keyOf(identity.toString());
  if (key === undefined) throw new Error("no transfer of this name takes connections without encryption");
  const said = Buffer.concat([preamble, head, identity, randomBytes(nonceBytes)]);
  socket.write(Buffer.concat([said.subarray(-nonceBytes), codeOf(key, "source", said)]));
  const proof = await readExactly(socket, codeBytes, signal);
  if (!timingSafeEqual(proof, codeOf(key, "destination", said))) throw new Error("the peer does not know the secret");
  return { identity: identity.toString(), keys: sessionKeys(key, said, "source") };
}

/** The destination's side. Throws `unavailable`, `unauthorized` when the source is refusing or not the one, `cancelled`. */
export async function connectPlain({ source, identity, key, role, signal }: ConnectOptions): Promise<Connection> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(handshakeTimeoutMs)]);
  const socket = connect({ host: source.host, port: source.port });
  socket.on("error", () => undefined);
  let reached = false;
  try {
    await once(socket, "connect", { signal: bounded });
    reached = true;
    tune(socket);
    const name = Buffer.from(identity);
    const nonce = randomBytes(nonceBytes);
    const head = Buffer.concat([encodePreamble({ security: "plain", role }), nonce, Buffer.from([name.length]), name]);
    socket.write(head);
    const answer = await readExactly(socket, nonceBytes + codeBytes, bounded);
    const said = Buffer.concat([head, answer.subarray(0, nonceBytes)]);
    if (!timingSafeEqual(answer.subarray(nonceBytes), codeOf(key, "source", said)))
      throw new DmigrateError("unauthorized", "the source does not know the secret");
    const proof = codeOf(key, "destination", said);
    await new Promise<void>((resolve, reject) => {
      socket.write(proof, (error) => (error ? reject(error) : resolve()));
    });
    return { ...takeOut(socket), keys: sessionKeys(key, said, "destination") };
  } catch (cause) {
    socket.destroy();
    throw connectFailure({ source, identity, signal, bounded, reached, cause });
  }
}

const codeOf = (key: Buffer, side: "source" | "destination", said: Buffer): Buffer =>
  createHmac("sha256", key).update(side).update(said).digest();

/** RFC 5869, with what both have said as the salt. */
const sessionKeys = (key: Buffer, said: Buffer, side: "source" | "destination"): Keys =>
  keysOf(Buffer.from(hkdfSync("sha256", key, said, "records", sessionKeyBytes)), side, "authenticate");

/** Just so many bytes; what comes after them stays in the socket. Throws when they do not come. */
export async function readExactly(socket: Socket, bytes: number, signal: AbortSignal): Promise<Buffer> {
  if (bytes === 0) return Buffer.alloc(0);
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const look = (): void => {
    const read = socket.read(bytes) as Buffer | null;
    if (read?.length === bytes) resolve(read);
    else if (read !== null || socket.readableEnded || socket.destroyed) end();
  };
  const end = (): void => reject(new Error("the peer closed the connection"));
  const giveUp = (): void =>
    reject(new Error(`the peer did not say who it is: ${messageOf(signal.reason)}`, { cause: signal.reason }));
  const ends = ["end", "close", "error"];
  // Each new listener is told at once of what is there; so one listens all the time, and is told of what is new.
  socket.on("readable", look);
  for (const event of ends) socket.on(event, end);
  signal.addEventListener("abort", giveUp);
  try {
    if (signal.aborted) giveUp();
    else look();
    return await promise;
  } finally {
    socket.off("readable", look);
    for (const event of ends) socket.off(event, end);
    signal.removeEventListener("abort", giveUp);
  }
}
