/** Which pages of another process are there: the ioctl PAGEMAP_SCAN of /proc/PID/pagemap (Linux 6.7). */
import { closeSync, openSync } from "node:fs";
import koffi from "koffi";
import { LinuxError } from "../../shared/adapters/linux.ts";
import type { PageRange } from "../../shared/core/criu/process-images.ts";

const libc = koffi.load(null);
const ioctl = libc.func("int ioctl(int, unsigned long, void *)") as (...args: unknown[]) => number;

/** From linux/fs.h. */
const pagemapScan = 0xc0606610;
const category = { file: 1 << 2, present: 1 << 3, swapped: 1 << 4, zeroPage: 1 << 5, guard: 1 << 8 } as const;
const argumentBytes = 96;
const regionBytes = 24;
const maxRegions = 16_384;
const pageBytes = 4096n;
/** The end of the address space that a process can ask for. */
const lastPage = 0x7fff_ffff_f000 / 4096;

interface Wanted {
  /** All of these are absent. */
  without: number;
  /** At least one of these is present. */
  anyOf: number;
}

/** What CRIU dumps of a private mapping: neither clean pages of its file nor the shared page of zeros. */
const owned: Wanted = { without: category.file | category.zeroPage, anyOf: category.present | category.swapped };
const guarded: Wanted = { without: 0, anyOf: category.guard };

export interface PageScanner extends Disposable {
  /** Pages from `page` up to `end` that belong to the process alone, ascending; neighbouring runs are one. */
  ownedPages(page: number, end: number): PageRange[];
  /** Whether the process has guard regions (MADV_GUARD_INSTALL, Linux 6.13); false where the kernel cannot tell. */
  hasGuards(): boolean;
}

/** Throws LinuxError: ENOENT when there is no such process, and ENOTTY from the scans of a kernel before 6.7. */
export function openPageScanner(pid: number): PageScanner {
  const fd = openSync(`/proc/${pid}/pagemap`, "r");
  const argument = Buffer.alloc(argumentBytes);
  const regions = Buffer.alloc(maxRegions * regionBytes);
  const scan = function* (page: number, end: number, { without, anyOf }: Wanted): Generator<PageRange> {
    let from = BigInt(page) * pageBytes;
    const to = BigInt(end) * pageBytes;
    while (from < to) {
      const fields = [
        argumentBytes,
        0,
        from,
        to,
        0,
        koffi.address(regions),
        maxRegions,
        0,
        without,
        without,
        anyOf,
        anyOf,
      ];
      fields.forEach((value, index) => argument.writeBigUInt64LE(BigInt(value), index * 8));
      const count = ioctl(fd, pagemapScan, argument);
      if (count < 0) throw new LinuxError("PAGEMAP_SCAN", koffi.errno());
      for (let at = 0; at < count * regionBytes; at += regionBytes) {
        const first = Number(regions.readBigUInt64LE(at) / pageBytes);
        yield { page: first, pages: Number(regions.readBigUInt64LE(at + 8) / pageBytes) - first };
      }
      from = argument.readBigUInt64LE(32);
    }
  };
  return {
    ownedPages(page, end) {
      const runs: PageRange[] = [];
      for (const run of scan(page, end, owned)) {
        const last = runs.at(-1);
        if (last !== undefined && last.page + last.pages === run.page) last.pages += run.pages;
        else runs.push(run);
      }
      return runs;
    },
    hasGuards() {
      try {
        for (const _ of scan(0, lastPage, guarded)) return true;
        return false;
      } catch (error) {
        if (error instanceof LinuxError && error.code === "EINVAL") return false;
        throw error;
      }
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}

/** Whether this kernel has the ioctl. */
export function canScanPages(): boolean {
  using scanner = openPageScanner(process.pid);
  try {
    scanner.ownedPages(0, 1);
    return true;
  } catch (error) {
    if (error instanceof LinuxError && isUnknown(error.code)) return false;
    throw error;
  }
}

const isUnknown = (code: string): boolean => ["ENOTTY", "EINVAL"].includes(code);
