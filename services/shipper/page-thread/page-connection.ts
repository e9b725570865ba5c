/** One connection that a page thread serves: takes its requests, and sends the answers as the system has room. */
import type { Watched } from "../../shared/adapters/poller.ts";
import { frameTypes } from "../../shared/core/frames/frame.ts";
import { maxZeroPages } from "../../shared/core/frames/page-message.ts";
import { PayloadPool } from "../../shared/core/frames/payload-pool.ts";
import { messageOf } from "../../shared/errors.ts";
import type { Connection } from "../../shared/link/connection.ts";
import { RecordSocket } from "../../shared/link/record-socket.ts";
import { PageAnswers, type PageAnswersOptions } from "../serve-pages.ts";
import type { PageCounters } from "./counters.ts";
import { PagePacker } from "./page-packer.ts";

/**
 * Answers that are made in one turn, and pages that are read for them: 16 MiB, which may all be zero and take a few bytes
 * to say so. Then whoever else the thread serves has his turn.
 */
const mostAtOnce = 16;
const mostPagesAtOnce = maxZeroPages;

export interface PageConnectionOptions extends Omit<PageAnswersOptions, "packer"> {
  connection: Connection;
  /** The plan has it that memory is compressed; what is measured decides. */
  compresses: boolean;
  counters: PageCounters;
  /** It is of no use any more; told once. */
  onLost: (reason: string) => void;
}

export class PageConnection implements Watched {
  readonly #options: PageConnectionOptions;
  readonly #socket: RecordSocket;
  readonly #answers: PageAnswers;
  readonly #packer: PagePacker;
  /** For requests: they are looked at once, and their memory used again. */
  readonly #pool = new PayloadPool();
  #countedBytes = 0;
  /** Up to which the packer was told. */
  #notedBytes = 0;
  #lost = false;

  constructor(options: PageConnectionOptions) {
    this.#options = options;
    this.#socket = new RecordSocket(options.connection, (bytes) => this.#pool.take(bytes));
    this.#packer = new PagePacker(options.compresses);
    this.#answers = new PageAnswers({ ...options, packer: this.#packer });
  }

  /** -1, which poll(2) passes over, while nothing is to be heard of it: that the peer is gone would be told again and again. */
  get fd(): number {
    return this.isReading || this.isWriting ? this.#socket.fd : -1;
  }

  get isWriting(): boolean {
    return this.#socket.isWriting;
  }

  get isReading(): boolean {
    return !this.#answers.isFull;
  }

  /** Has something to send, and the system room for it; or something to read that the system does not tell of. */
  get isBusy(): boolean {
    if (this.#lost) return false;
    return (!this.#socket.isWriting && this.#answers.hasNext) || (this.isReading && this.#socket.hasAhead);
  }

  readonly onReady = (): void => {
    this.#guard(() => {
      this.#socket.flush();
      this.#read();
      this.#send();
    });
  };

  /** Tells the destination something, before all pages but those that are waited for. */
  tell(frames: readonly Buffer[]): void {
    for (const frame of frames) this.#answers.add(1, { type: frameTypes.memoryMap, channel: 0, flags: 0, frame });
    this.goOn();
  }

  /** The link was measured: it may carry so much. */
  noteLink(bytesPerSecond: number): void {
    this.#packer.noteLink(bytesPerSecond);
  }

  /** Sends more of what there is to send. */
  goOn(): void {
    this.#guard(() => {
      if (this.#socket.hasAhead) this.#read();
      this.#send();
    });
  }

  /** Frees what it takes; the descriptor is its owner's. */
  close(): void {
    this.#lost = true;
    this.#socket.close();
  }

  #read(): void {
    while (this.isReading) {
      const record = this.#socket.read();
      if (record === undefined) return;
      for (const frame of record.frames) this.#answers.take(frame);
      this.#pool.release(record.memory);
    }
  }

  #send(): void {
    const { counters } = this.#options;
    this.#note();
    const lastPage = counters.pagesSent + mostPagesAtOnce;
    for (let made = 0; made < mostAtOnce && counters.pagesSent < lastPage && !this.#socket.isWriting; made++) {
      const outgoing = this.#answers.next();
      if (outgoing === undefined) break;
      const { type, channel, frame, flags, release } = outgoing;
      this.#socket.write(type, channel, frame, flags);
      release?.();
      this.#socket.flush();
    }
    counters.bytesSent += this.#socket.bytesSent - this.#countedBytes;
    this.#countedBytes = this.#socket.bytesSent;
    this.#note();
  }

  /** What is still on its way to the system is noted once it is there: an answer is noted whole. */
  #note(): void {
    if (this.#socket.isWriting) return;
    this.#packer.noteSent(this.#socket.bytesSent - this.#notedBytes, this.#answers.hasNext);
    this.#notedBytes = this.#socket.bytesSent;
  }

  #guard(work: () => void): void {
    if (this.#lost) return;
    try {
      work();
    } catch (error) {
      this.#lost = true;
      this.#options.onLost(messageOf(error));
    }
  }
}
