/**
 * Takes layers out of the archive that `docker save` writes, on its way: layers that the destination has need not travel,
 * and `docker load` looks for a layer's file only where it lacks the layer. Docker names a layer's file by its digest
 * (`blobs/sha256/…`, since version 25); an archive in which it does not is left as it is. Bytes in, bytes out.
 */

const blockBytes = 512;
/** Extended headers belong to the entry after them, and wait for it: longer ones than Docker's are let through. */
const maxHeldBytes = 1 << 20;
/** GNU's long names and links, POSIX's attributes of the next entry. */
const leadingTypes = new Set(["K", "L", "x"].map((letter) => letter.charCodeAt(0)));

/** What happens to the bytes of the entry under way. */
type Fate = "pass" | "drop" | "hold";

export class LayerFilter {
  readonly #names: ReadonlySet<string>;
  #header = Buffer.alloc(0);
  #held: Buffer[] = [];
  #heldBytes = 0;
  /** Of the entry under way, padding included. */
  #left = 0;
  #fate: Fate = "pass";

  /** `digests`: layers to leave out, `sha256:…`, as the image's RootFS names them. */
  constructor(digests: readonly string[]) {
    this.#names = new Set(digests.map((digest) => `blobs/${digest.replace(":", "/")}`));
  }

  /** What of the archive goes on, in order. */
  *push(chunk: Buffer): Generator<Buffer, void, void> {
    if (this.#names.size === 0) {
      yield chunk;
      return;
    }
    for (let at = 0; at < chunk.length;) {
      if (this.#left === 0) {
        const taken = chunk.subarray(at, at + blockBytes - this.#header.length);
        at += taken.length;
        this.#header = Buffer.concat([this.#header, taken]);
        if (this.#header.length === blockBytes) yield* this.#begin();
        continue;
      }
      const bytes = chunk.subarray(at, at + this.#left);
      at += bytes.length;
      this.#left -= bytes.length;
      if (this.#fate === "pass") yield bytes;
      else if (this.#fate === "hold") this.#hold(bytes);
    }
  }

  /** The archive is over: what was held back goes on. */
  *end(): Generator<Buffer, void, void> {
    yield* this.#release();
    if (this.#header.length > 0) yield this.#header;
  }

  *#begin(): Generator<Buffer, void, void> {
    const header = this.#header;
    this.#header = Buffer.alloc(0);
    const size = sizeOf(header);
    this.#left = Math.ceil(size / blockBytes) * blockBytes;
    const leads = leadingTypes.has(header.readUInt8(156));
    if (leads && this.#heldBytes + this.#left <= maxHeldBytes) {
      this.#fate = "hold";
      this.#hold(header);
      return;
    }
    if (!leads && this.#names.has(nameOf(header))) {
      this.#fate = "drop";
      this.#held = [];
      this.#heldBytes = 0;
      return;
    }
    this.#fate = "pass";
    yield* this.#release();
    yield header;
  }

  #hold(bytes: Buffer): void {
    // The caller's buffer is its own again once it has what came of it.
    this.#held.push(Buffer.from(bytes));
    this.#heldBytes += bytes.length;
  }

  *#release(): Generator<Buffer, void, void> {
    const held = this.#held;
    this.#held = [];
    this.#heldBytes = 0;
    yield* held;
  }
}

function text(header: Buffer, from: number, to: number): string {
  const field = header.subarray(from, to);
  const end = field.indexOf(0);
  return field.toString("latin1", 0, end < 0 ? field.length : end);
}

function nameOf(header: Buffer): string {
  const isUstar = text(header, 257, 262) === "ustar";
  const prefix = isUstar ? text(header, 345, 500) : "";
  const name = text(header, 0, 100);
  return prefix === "" ? name : `${prefix}/${name}`;
}

/** Octal digits, or beyond 8 GiB a big-endian number marked by its first bit. */
function sizeOf(header: Buffer): number {
  if (header.readUInt8(124) < 0x80) return Number.parseInt(text(header, 124, 136).trim() || "0", 8);
  return Number(header.readBigUInt64BE(128));
}
