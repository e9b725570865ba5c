/** The conversation of the agent and its page daemon over a local socket: one JSON value a line, in both directions. */
import type { Duplex } from "node:stream";

/** Far more than the page ranges of any container; a peer that sends more is not ours. */
const longestLine = 256 << 20;
const newline = 10;

export interface Channel<Out> {
  /** Sends a message; nothing happens when the other side is gone. */
  send(message: Out): void;
  /** Resolves once the other side is gone, or after `close`. */
  readonly closed: Promise<void>;
  close(): void;
}

/** Takes over a connected socket. Whoever speaks something else than JSON lines is cut off. */
export function openChannel<Out>(socket: Duplex, onMessage: (message: unknown) => void): Channel<Out> {
  let line: Buffer[] = [];
  let length = 0;
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));

  const receive = (chunk: Buffer): void => {
    let start = 0;
    for (let end = chunk.indexOf(newline); end >= 0; end = chunk.indexOf(newline, start)) {
      line.push(chunk.subarray(start, end));
      const text = Buffer.concat(line).toString();
      [line, length, start] = [[], 0, end + 1];
      onMessage(JSON.parse(text));
    }
    line.push(chunk.subarray(start));
    length += chunk.length - start;
    if (length > longestLine) throw new Error("a message is too long");
  };
  socket.on("data", (chunk: Buffer) => {
    try {
      receive(chunk);
    } catch (error) {
      socket.destroy(error instanceof Error ? error : new Error(String(error)));
    }
  });
  // The end is what matters; `closed` tells.
  socket.on("error", () => undefined);
  socket.on("end", () => socket.destroy());
  return {
    send: (message) => {
      if (socket.writable) socket.write(`${JSON.stringify(message)}\n`);
    },
    closed,
    close: () => void socket.destroy(),
  };
}
