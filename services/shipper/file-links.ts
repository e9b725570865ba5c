/** A transfer's connections for files: those there are, and what those that there were have sent. */
import type { Connection } from "../shared/link/connection.ts";
import { openConnection, type FramedLink, type FrameHandler } from "../shared/link/framed.ts";

/** More than any destination asks for; those that it has lost and this side has not noticed are among them. */
const maxLinks = 64;

export class FileLinks {
  readonly #links = new Set<FramedLink>();
  #bytesOfClosed = 0;

  get bytesSent(): number {
    let bytes = this.#bytesOfClosed;
    for (const link of this.#links) bytes += link.bytesSent;
    return bytes;
  }

  /** Takes a connection over; `handlerOf` gives who hears its frames. */
  add(connection: Connection, handlerOf: (link: FramedLink) => FrameHandler): void {
    const state: { handler?: FrameHandler } = {};
    // Nothing comes before this turn is over.
    const link = openConnection(connection, { onFrame: (frame) => state.handler?.(frame) });
    this.#links.add(link);
    void link.closed.then(() => {
      this.#links.delete(link);
      this.#bytesOfClosed += link.bytesSent;
    });
    if (this.#links.size > maxLinks) link.close(new Error("too many connections"));
    state.handler = handlerOf(link);
  }

  /** Closes all that are open. */
  close(reason: Error): void {
    for (const link of this.#links) link.close(reason);
  }
}
