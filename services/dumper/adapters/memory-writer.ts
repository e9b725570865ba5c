/**
 * The memory images of processes whose memory CRIU was not shown. To be called when CRIU is done and the container
 * still frozen: while CRIU works in a process, that process has code of CRIU's in its memory.
 */
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodePagemap, encodePagemap, type PageRange } from "../../shared/core/criu/process-images.ts";
import { DmigrateError } from "../../shared/errors.ts";
import { plainMappings } from "../../shared/core/plain-mappings.ts";
import { decodeMappings } from "../core/memory-map.ts";
import { eagerPages, mergeRuns, planMapping, type DumpedRun } from "../core/memory-images.ts";
import { openPageScanner } from "../../shared/adapters/pagemap-scan.ts";

const pageBytes = 4096;

export interface HiddenProcess {
  /** In the container: what the images are named by. */
  pid: number;
  hostPid: number;
}

/** Which pages of large mappings are there; found while CRIU is at work elsewhere in the process. */
export type KnownPages = ReadonlyMap<string, PageRange[]>;
const nameOf = (page: number, end: number): string => `${page}-${end}`;

/** A smaller mapping is looked at when CRIU is done. */
const asideFromPages = 1024;

/**
 * Looks at the large anonymous mappings of a frozen process. CRIU leaves them alone: of writable memory it changes none,
 * and its own code goes into executable mappings. Never rejects; what it could not look at is missing.
 */
export async function lookAside({ hostPid }: HiddenProcess): Promise<KnownPages> {
  const known = new Map<string, PageRange[]>();
  try {
    using scanner = openPageScanner(hostPid);
    for (const { page, end } of plainMappings(readFileSync(`/proc/${hostPid}/maps`, "utf8")))
      if (end - page >= asideFromPages) known.set(nameOf(page, end), await scanner.ownedPagesAside(page, end));
  } catch {
    // Then it is done later, and a real failure is told there.
  }
  return known;
}

/**
 * Rewrites pagemap-PID.img and its pages image. `known` is from `lookAside`, of the same freeze. Throws
 * `checkpoint-failed` when that cannot be done truthfully.
 */
export function writeMemoryImages(imagesDir: string, { pid, hostPid }: HiddenProcess, known: KnownPages): void {
  using scanner = openPageScanner(hostPid);
  if (scanner.hasGuards())
    throw new DmigrateError(
      "checkpoint-failed",
      `process ${pid} of the container has made guard pages just before it was frozen; migrate it again`,
    );
  const pagemapPath = join(imagesDir, `pagemap-${pid}.img`);
  const { pagesId, entries } = decodePagemap(readFileSync(pagemapPath));
  let left = eagerPages;
  const ours = decodeMappings(readFileSync(join(imagesDir, `mm-${pid}.img`))).flatMap((mapping) => {
    const { page, end } = mapping;
    const present = known.get(nameOf(page, end)) ?? scanner.ownedPages(page, end);
    const { runs, eagerLeft } = planMapping(mapping, present, left);
    left = eagerLeft;
    return runs;
  });
  const runs = mergeRuns(ours, entries);
  writePages(join(imagesDir, `pages-${pagesId}.img`), hostPid, runs);
  writeFileSync(pagemapPath, encodePagemap({ pagesId, entries: runs }));
}

const pieceBytes = 4 << 20;

/** Writes the bytes of all runs that are not lazy, one after the other, over the image that CRIU has written. */
function writePages(path: string, hostPid: number, runs: readonly DumpedRun[]): void {
  const crius = readFileSync(path);
  const memory = openSync(`/proc/${hostPid}/mem`, "r");
  const image = openSync(path, "w");
  const piece = Buffer.allocUnsafe(pieceBytes);
  try {
    for (const { page, pages, lazy, from } of runs) {
      if (lazy) continue;
      const total = pages * pageBytes;
      for (let done = 0; done < total; done += pieceBytes) {
        const part = piece.subarray(0, Math.min(pieceBytes, total - done));
        const got =
          from === "process"
            ? readSync(memory, part, 0, part.length, page * pageBytes + done)
            : crius.copy(part, 0, from.imagePage * pageBytes + done);
        // Memory that is there is read whole.
        if (got !== part.length)
          throw new DmigrateError("checkpoint-failed", `memory at page ${page} of process ${hostPid} cannot be read`);
        writeFileSync(image, part);
      }
    }
  } finally {
    closeSync(image);
    closeSync(memory);
  }
}
