/** Fills pages in where they were placed, as long as what that was placed by is the latest that was heard. */
import koffi from "koffi";
import { LinuxError } from "../../shared/adapters/linux.ts";
import { pageBytes } from "../../shared/core/page-server/codec.ts";
import type { FillLock } from "../adapters/fill-lock.ts";
import { copyPages, wake, zeroPages } from "../adapters/userfaultfd.ts";
import { noteFilled, partsOf, type Filled, type Part, type Placement, type SpacePlace } from "../core/placement.ts";
import type { FillOutcome, SharedPages } from "./bulk-messages.ts";

/** Filled under one hold of the lock, for which a fault may wait: 64 KiB, some 50 µs. */
const pagesAtOnce = 16;

/** Everything but the plain case is left to the thread that hears: it looks what is there, and tries again. */
export function fillPlaced(
  lock: FillLock,
  { generation, places }: Placement,
  image: number,
  { spans, memory }: SharedPages,
): { filled: Filled[]; outcome: FillOutcome } {
  const base = memory && koffi.address(Buffer.from(memory));
  const filled: Filled[] = [];
  for (const place of places) {
    for (const part of partsOf(place, image, spans)) {
      const outcome = tryFillPart(lock, generation, place, part, base, filled);
      if (outcome !== "whole") return { filled, outcome };
    }
  }
  return { filled, outcome: "whole" };
}

/** What no call should answer is neither the connection's fault nor the thread's: who hears meets it again, and reports it. */
function tryFillPart(...part: Parameters<typeof fillPart>): FillOutcome {
  try {
    return fillPart(...part);
  } catch (error) {
    if (error instanceof LinuxError) return "hindered";
    throw error;
  }
}

function fillPart(
  lock: FillLock,
  generation: number,
  { space, fd }: SpacePlace,
  { page, pages, offset }: Part,
  base: bigint | undefined,
  filled: Filled[],
): FillOutcome {
  const isZero = offset === undefined;
  let done = 0;
  while (done < pages) {
    const at = page + done;
    const most = Math.min(pagesAtOnce, pages - done);
    const source = isZero || base === undefined ? undefined : base + BigInt(offset + done * pageBytes);
    const step = lock.ifCurrent(generation, () => {
      const result = source === undefined ? zeroPages(fd, at, most) : copyPages(fd, at, source, most);
      // Whoever waits for a page that is there was told so by nobody.
      if (result.outcome === "exists") wake(fd, at, 1);
      return result;
    });
    if (step === undefined) return "stale";
    if (step.outcome !== "done" && step.outcome !== "exists") return "hindered";
    const count = step.outcome === "done" ? step.pages : 1;
    lock.giveWay();
    noteFilled(filled, { space, page: at, pages: count, isZero });
    done += count;
  }
  return "whole";
}
