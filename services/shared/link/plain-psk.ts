/**
 * A connection without encryption, for a link that is trusted. Both ends still prove that they know the migration's
 * secret, each by a code over what both have said, with fresh random bytes of both, so that nothing recorded serves again:
 *
 *     destination   "DMG1", 32 random bytes, u8 length, identity
 *     source        32 random bytes, HMAC-SHA256("source", all so far)
 *     destination   HMAC-SHA256("destination", all so far but the source's code)
 *
 * Then frames.
 */
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { OnReadOpts } from "node:net";
import { DmigrateError, messageOf } from "../errors.ts";
import { connectFailure, handshakeTimeoutMs, tune, type ConnectOptions } from "./connect.ts";
import { encodePreamble } from "./preamble.ts";

const magic = Buffer.from("DMG1");
const nonceBytes = 32;
const codeBytes = 32;
const readBytes = 256 * 1024;

/** The source's side: answers whom the peer has proved to be. Throws when it has not, or takes too long. */
export async function acceptPlain(
  socket: Socket,
  keyOf: (identity: string) => Buffer | undefined,
  signal: AbortSignal,
): Promise<string> {
  const head = await readExactly(socket, magic.length + nonceBytes + 1, signal);
  if (!head.subarray(0, magic.length).equals(magic)) throw new Error("the peer speaks another protocol");
  const identity = await readExactly(socket, head.at(-1) ?? 0, signal);
  const key = keyOf(identity.toString());
  if (key === undefined) throw new Error("no transfer of this name takes connections without encryption");
  const said = Buffer.concat([head, identity, randomBytes(nonceBytes)]);
  socket.write(Buffer.concat([said.subarray(-nonceBytes), codeOf(key, "source", said)]));
  const proof = await readExactly(socket, codeBytes, signal);
  if (!timingSafeEqual(proof, codeOf(key, "destination", said))) throw new Error("the peer does not know the secret");
  return identity.toString();
}

/** The destination's side. Throws `unavailable`, `unauthorized` when the source is refusing or not the one, `cancelled`. */
export async function connectPlain({ source, identity, key, role, signal, onBytes }: ConnectOptions): Promise<Socket> {
  const bounded = AbortSignal.any([signal, AbortSignal.timeout(handshakeTimeoutMs)]);
  const answer = Buffer.alloc(nonceBytes + codeBytes);
  let answered = 0;
  const whole = new EventTarget();
  // The source says nothing more before this side has greeted.
  const takeAnswer = (bytes: Buffer): void => {
    answered += bytes.copy(answer, answered);
    if (answered === answer.length) whole.dispatchEvent(new Event("answer"));
  };
  let take = takeAnswer;
  const onread: OnReadOpts = {
    buffer: Buffer.alloc(readBytes),
    callback: (length, { buffer, byteOffset }) => {
      take(Buffer.from(buffer, byteOffset, length));
      return true;
    },
  };
  const socket = connect({ host: source.host, port: source.port, onread });
  const ended = once(socket, "close", { signal: bounded }).then(() => {
    throw new Error("the connection was closed");
  });
  ended.catch(() => undefined);
  let reached = false;
  try {
    await once(socket, "connect", { signal: bounded });
    reached = true;
    tune(socket);
    const name = Buffer.from(identity);
    const head = Buffer.concat([magic, randomBytes(nonceBytes), Buffer.from([name.length]), name]);
    const answering = once(whole, "answer", { signal: bounded });
    socket.write(Buffer.concat([encodePreamble({ security: "plain", role }), head]));
    await Promise.race([answering, ended]);
    const said = Buffer.concat([head, answer.subarray(0, nonceBytes)]);
    if (!timingSafeEqual(answer.subarray(nonceBytes), codeOf(key, "source", said)))
      throw new DmigrateError("unauthorized", "the source does not know the secret");
    take = onBytes;
    socket.write(codeOf(key, "destination", said));
    return socket;
  } catch (cause) {
    // Errors after this one have no reader.
    socket.on("error", () => undefined).destroy();
    throw connectFailure({ source, identity, signal, bounded, reached, cause });
  }
}

const codeOf = (key: Buffer, side: "source" | "destination", said: Buffer): Buffer =>
  createHmac("sha256", key).update(side).update(said).digest();

/** Just so many bytes; what comes after them stays in the socket. Throws when they do not come. */
export async function readExactly(socket: Socket, bytes: number, signal: AbortSignal): Promise<Buffer> {
  if (bytes === 0) return Buffer.alloc(0);
  for (;;) {
    const read = socket.read(bytes) as Buffer | null;
    if (read !== null && read.length === bytes) return read;
    if (read !== null || socket.readableEnded || socket.destroyed) throw new Error("the peer closed the connection");
    try {
      await once(socket, "readable", { signal });
    } catch (error) {
      throw new Error(`the peer did not say who it is: ${messageOf(error)}`, { cause: error });
    }
  }
}
