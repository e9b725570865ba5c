/**
 * The memory images of processes whose memory CRIU was not shown. To be called when CRIU is done and the container
 * still frozen: while CRIU works in a process, that process has code of CRIU's in its memory.
 */
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodePagemap, encodePagemap, type PageRange } from "../../shared/core/criu/process-images.ts";
import { DmigrateError } from "../../shared/errors.ts";
import { decodeMappings, plainMappings } from "../core/memory-map.ts";
import { eagerPages, mergeRuns, planMapping, type DumpedRun } from "../core/memory-images.ts";
import { openPageScanner } from "./pagemap-scan.ts";

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
  const pagesPath = join(imagesDir, `pages-${pagesId}.img`);
  writeFileSync(pagesPath, readRuns(hostPid, runs, readFileSync(pagesPath)));
  writeFileSync(pagemapPath, encodePagemap({ pagesId, entries: runs }));
}

/** The bytes of all runs that are not lazy, one after the other. */
function readRuns(hostPid: number, runs: readonly DumpedRun[], criusPages: Buffer): Buffer {
  const present = runs.filter(({ lazy }) => !lazy);
  const bytes = Buffer.allocUnsafe(present.reduce((sum, { pages }) => sum + pages, 0) * pageBytes);
  const memory = openSync(`/proc/${hostPid}/mem`, "r");
  try {
    let at = 0;
    for (const { page, pages, from } of present) {
      const length = pages * pageBytes;
      const got =
        from === "process"
          ? readFully(memory, bytes.subarray(at, at + length), page * pageBytes)
          : criusPages.copy(bytes, at, from.imagePage * pageBytes, from.imagePage * pageBytes + length);
      if (got !== length)
        throw new DmigrateError("checkpoint-failed", `memory at page ${page} of process ${hostPid} cannot be read`);
      at += length;
    }
    return bytes;
  } finally {
    closeSync(memory);
  }
}

function readFully(fd: number, into: Buffer, position: number): number {
  let done = 0;
  while (done < into.length) {
    const got = readSync(fd, into, done, into.length - done, BigInt(position + done));
    if (got === 0) break;
    done += got;
  }
  return done;
}
