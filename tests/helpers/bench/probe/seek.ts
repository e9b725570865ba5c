/**
 * Finds out which of several addresses serves: asks all of them every few milliseconds, on a new connection each time, and stays with
 * the first that gives a whole answer. Many short attempts, since a SYN that is lost comes again only after a second.
 */
import { connect, type Socket } from "node:net";

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface SeekOptions {
  readonly addresses: readonly Address[];
  readonly hello: Buffer;
  readonly isAnswer: (received: Buffer) => boolean;
  /** Between two attempts at one address, ms. */
  readonly everyMs: number;
}

const connectTimeoutMs = 150;
/** One that has connected may be waiting for its memory. */
const answerTimeoutMs = 2_000;
const mostConnecting = 80;
/** With so many that have connected and wait, further attempts come slower: whoever listens there may never answer. */
const manyWaiting = 4;
const slowEveryMs = 20;

export interface Seek {
  /** A connection whose hello was answered; nobody listens to it any more. Never settles after `end()`. */
  readonly found: Promise<Socket>;
  /** Gives up all attempts. Calling it again, or after one was found, does nothing. */
  end(): void;
}

export function seek({ addresses, hello, isAnswer, everyMs }: SeekOptions): Seek {
  const found = Promise.withResolvers<Socket>();
  const attempts = new Set<Socket>();
  const end = (): void => {
    clearInterval(timer);
    for (const socket of attempts) socket.destroy();
    attempts.clear();
  };
  const places = addresses.map((address) => ({ address, connecting: 0, waiting: 0, lastMs: -Infinity }));

  function attempt(place: (typeof places)[number]): void {
    const now = performance.now();
    if (place.connecting >= mostConnecting) return;
    if (place.waiting >= manyWaiting && now - place.lastMs < slowEveryMs) return;
    place.lastMs = now;
    const socket = connect({ ...place.address, noDelay: true });
    attempts.add(socket);
    place.connecting++;
    let isConnecting = true;
    let received = Buffer.alloc(0);
    const deadline = setTimeout(() => socket.destroy(), connectTimeoutMs);
    const answerDeadline = setTimeout(() => socket.destroy(), answerTimeoutMs);
    const leave = (): void => {
      clearTimeout(deadline);
      clearTimeout(answerDeadline);
      attempts.delete(socket);
      if (isConnecting) place.connecting--;
      else place.waiting--;
    };
    socket.on("error", () => undefined);
    socket.once("close", leave);
    socket.once("connect", () => {
      clearTimeout(deadline);
      isConnecting = false;
      place.connecting--;
      place.waiting++;
      socket.write(hello);
    });
    socket.on("data", (chunk) => {
      received = Buffer.concat([received, chunk]);
      if (!isAnswer(received)) return;
      socket.removeAllListeners("data").removeListener("close", leave);
      leave();
      end();
      found.resolve(socket);
    });
  }

  const timer = setInterval(() => places.forEach(attempt), everyMs);
  places.forEach(attempt);
  return { found: found.promise, end };
}
