/**
 * Room that was left over in a log file when it came here (shared/adapters/container-log.ts): spaces at the beginning of a line.
 * Docker writes none there, so a log that goes on to another node leaves them behind. Bytes in, bytes out.
 */

const space = 0x20;
const lineEnd = 0x0a;
const paddingBehindLine = Buffer.from("\n ");

export class LogPadding {
  #atLineStart = true;

  /** What of the next bytes of the log is the log. */
  *strip(bytes: Buffer): Generator<Buffer, void, void> {
    for (let at = 0; at < bytes.length;) {
      if (this.#atLineStart) {
        while (bytes[at] === space) at++;
        if (at === bytes.length) return;
      }
      const end = bytes.indexOf(paddingBehindLine, at);
      const next = end < 0 ? bytes.length : end + 1;
      yield bytes.subarray(at, next);
      this.#atLineStart = bytes[next - 1] === lineEnd;
      at = next;
    }
  }
}
