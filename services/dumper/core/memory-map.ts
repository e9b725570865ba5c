/**
 * Which pages of a process belong into its images, and how: the rules are CRIU's (criu/mem.c, criu/include/vma.h), so
 * that what the dump is told and what the restore expects are the same.
 */
import { decode, messages, toNumber, type Wide } from "../../shared/core/criu/messages.ts";
import { CriuImageError, imageMessages } from "../../shared/core/criu/image.ts";

/** A mapping; page numbers are addresses divided by 4096. */
export interface Mapping {
  page: number;
  /** Past the last page. */
  end: number;
  /** Its pages may come after the restore, by userfaultfd. */
  lazy: boolean;
}

const pageBytes = 4096;
const status = {
  regular: 1 << 0,
  vdso: 1 << 3,
  filePrivate: 1 << 6,
  anonymousPrivate: 1 << 9,
  vvar: 1 << 12,
  aioRing: 1 << 13,
  shadowStack: 1 << 15,
  guard: 1 << 16,
} as const;
/** From mman.h. */
const flag = { private: 0x02, droppable: 0x08, anonymous: 0x20, locked: 0x2000, hugePages: 0x40000 } as const;

interface VmaEntry {
  start: Wide;
  end: Wide;
  status: number;
  flags: number;
}

/**
 * The mappings of an mm image whose pages we dump, ascending. The vDSO and AIO rings are CRIU's: it dumps them whole, without asking
 * which of their pages are there. Throws CriuImageError.
 */
export function decodeMappings(image: Buffer): Mapping[] {
  const [first] = imageMessages("mm", image);
  if (first === undefined) throw new CriuImageError("the mm image is empty");
  const { vmas } = decode(messages.mm, first) as unknown as { vmas: VmaEntry[] };
  return vmas.filter(isOurs).map((vma) => ({
    page: toNumber(vma.start) / pageBytes,
    end: toNumber(vma.end) / pageBytes,
    lazy: canBeLazy(vma),
  }));
}

/** 2^47 on x86-64 with four page table levels, 2^56 with five; above are only the kernel's own, such as vsyscall. */
const userEnd = 2 ** 56;

function isOurs({ status: bits, flags, end }: VmaEntry): boolean {
  const isPrivate =
    ((bits & status.regular) !== 0 &&
      (bits & (status.anonymousPrivate | status.filePrivate)) !== 0 &&
      toNumber(end) <= userEnd) ||
    (bits & status.shadowStack) !== 0;
  const isCrius = (bits & (status.vdso | status.vvar | status.aioRing | status.guard)) !== 0;
  return isPrivate && !isCrius && (flags & flag.droppable) === 0;
}

function canBeLazy({ flags }: VmaEntry): boolean {
  const needed = flag.anonymous | flag.private;
  return (flags & needed) === needed && (flags & (flag.locked | flag.hugePages)) === 0;
}
