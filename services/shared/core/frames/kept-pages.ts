/** Pages that both ends of a connection keep while it lasts, by the number of their place: at most 8 MiB. */
import { FrameError } from "./frame.ts";
import { pageBytes } from "./page-message.ts";

/** How many there may be. */
export const keptPlaces = 2048;
/** Places whose memory is allocated together. */
const chunkPlaces = 64;

export class KeptPages {
  readonly #chunks: Buffer[] = [];
  readonly #isKept = new Uint8Array(keptPlaces);

  /** Keeps a copy of the page at `offset`, instead of what was kept in that place. Throws FrameError when there is no such place. */
  keep(place: number, bytes: Buffer, offset: number): void {
    if (place >= keptPlaces) throw new FrameError(`there is no place ${place} for a page; ${keptPlaces} may be kept`);
    bytes.copy(this.#chunkOf(place), offsetOf(place), offset, offset + pageBytes);
    this.#isKept[place] = 1;
  }

  /** Whether the page at `offset` is the one that is kept there, byte for byte. */
  isEqual(place: number, bytes: Buffer, offset: number): boolean {
    const chunk = this.#chunks[Math.floor(place / chunkPlaces)];
    if (chunk === undefined || this.#isKept[place] !== 1) return false;
    const at = offsetOf(place);
    return bytes.compare(chunk, at, at + pageBytes, offset, offset + pageBytes) === 0;
  }

  /** Copies what is kept to `offset`. Throws FrameError when that is nothing. */
  copy(place: number, target: Buffer, offset: number): void {
    const chunk = this.#chunks[Math.floor(place / chunkPlaces)];
    if (chunk === undefined || this.#isKept[place] !== 1)
      throw new FrameError(`the source refers to the page in place ${place}, where none is kept`);
    const at = offsetOf(place);
    chunk.copy(target, offset, at, at + pageBytes);
  }

  #chunkOf(place: number): Buffer {
    return (this.#chunks[Math.floor(place / chunkPlaces)] ??= Buffer.allocUnsafeSlow(chunkPlaces * pageBytes));
  }
}

const offsetOf = (place: number): number => (place % chunkPlaces) * pageBytes;
