/** Compresses a connection's answers with zstd where that makes memory arrive sooner (core/compression-choice.ts). */
import { pageFlags } from "../../shared/core/frames/page-message.ts";
import { packFrame } from "../../shared/adapters/packed-pages.ts";
import { CompressionChoice } from "../core/compression-choice.ts";
import { LinkMeter } from "../core/link-meter.ts";

/** An answer with one page, which is not worth the while. */
const leastBytes = 8192;

export interface PackedAnswer {
  frame: Buffer;
  flags: number;
}

export class PagePacker {
  readonly #choice: CompressionChoice;
  readonly #meter: LinkMeter;
  /** Since the meter was told last: see `Carried`. */
  #unpackedBytes = 0;
  #plainBytes = 0;

  /** `wanted`: what the plan assumes, until there are measurements. */
  constructor(wanted: boolean) {
    this.#choice = new CompressionChoice(wanted);
    this.#meter = new LinkMeter(this.#choice);
  }

  /** An answer as it is to leave. `waiting`: more answers wait for the link just now. */
  pack<T extends PackedAnswer>(answer: T, waiting: boolean): T {
    const bytes = answer.frame.length;
    if (bytes >= leastBytes && this.#choice.next(waiting)) {
      const started = performance.now();
      const frame = packFrame(answer.frame);
      const ms = performance.now() - started;
      if (this.#choice.noteCompressed({ bytesIn: bytes, bytesOut: frame.length, ms })) {
        this.#unpackedBytes += bytes;
        return { ...answer, frame, flags: answer.flags | pageFlags.packed };
      }
    }
    this.#plainBytes += bytes;
    return answer;
  }

  /** The link was measured, with bytes that were not compressed: what this connection may carry of it. */
  noteLink(bytesPerSecond: number): void {
    this.#choice.noteMeasured(bytesPerSecond / 1_000);
  }

  /** The system has taken all of the answers so far, so many bytes since the last time; `waiting`: more can leave now. */
  noteSent(bytes: number, waiting: boolean): void {
    const [unpackedBytes, plainBytes] = [this.#unpackedBytes, this.#plainBytes];
    this.#unpackedBytes = 0;
    this.#plainBytes = 0;
    this.#meter.note({ bytes, unpackedBytes, plainBytes }, waiting, performance.now());
  }
}
