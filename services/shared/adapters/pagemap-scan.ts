/** Which pages of another process are there: the ioctl PAGEMAP_SCAN of /proc/PID/pagemap (Linux 6.7). */
import { closeSync, openSync } from "node:fs";
import koffi from "koffi";
import { LinuxError } from "./linux.ts";
import type { PageRange } from "../core/criu/process-images.ts";

const libc = koffi.load(null);
type Call = ((...args: unknown[]) => number) & { async: (...args: unknown[]) => void };
const ioctl = libc.func("int ioctl(int, unsigned long, void *)") as unknown as Call;

/** From linux/fs.h. */
const pagemapScan = 0xc0606610;
const category = { file: 1 << 2, present: 1 << 3, swapped: 1 << 4, zeroPage: 1 << 5, guard: 1 << 8 } as const;
const argumentBytes = 96;
const regionBytes = 24;
const maxRegions = 4096;
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
  /** The same in another thread, piece by piece, so that the process's mappings are never locked for long. Rejects with any failure. */
  ownedPagesAside(page: number, end: number): Promise<PageRange[]>;
  /** Whether the process has guard regions (MADV_GUARD_INSTALL, Linux 6.13); false where the kernel cannot tell. */
  hasGuards(): boolean;
}

/** One millisecond's work. */
const asidePages = 16_384;

/** Throws LinuxError: ENOENT when there is no such process, and ENOTTY from the scans of a kernel before 6.7. */
export function openPageScanner(pid: number): PageScanner {
  const fd = openSync(`/proc/${pid}/pagemap`, "r");
  // One for all mappings, since most have few pages: each of its own would take longer to make than the scan takes.
  const regions = makeRegions();
  const scan = function* (page: number, end: number, wanted: Wanted): Generator<PageRange> {
    for (let call = new Scan(page, end, wanted, regions); !call.done;) {
      const count = ioctl(fd, pagemapScan, call.argument);
      if (count < 0) throw new LinuxError("PAGEMAP_SCAN", koffi.errno());
      yield* call.take(count);
    }
  };
  return {
    ownedPages: (page, end) => joined(scan(page, end, owned)),
    async ownedPagesAside(page, end) {
      const runs: PageRange[] = [];
      const own = makeRegions();
      for (let from = page; from < end; from += asidePages) {
        for (let call = new Scan(from, Math.min(end, from + asidePages), owned, own); !call.done;) {
          const count = await ioctlAside(fd, call.argument);
          if (count < 0) throw new Error(`the page map of process ${pid} cannot be scanned`);
          runs.push(...call.take(count));
        }
      }
      return joined(runs);
    },
    hasGuards() {
      try {
        return !scan(0, lastPage, guarded).next().done;
      } catch (error) {
        if (error instanceof LinuxError && error.code === "EINVAL") return false;
        throw error;
      }
    },
    [Symbol.dispose]: () => closeSync(fd),
  };
}

/** Where the kernel puts what it finds. */
const makeRegions = (): Buffer => Buffer.allocUnsafeSlow(maxRegions * regionBytes);

/** The argument of one scan, from call to call. */
class Scan {
  readonly argument = Buffer.alloc(argumentBytes);
  readonly #regions: Buffer;
  readonly #end: bigint;

  /** `regions` is its until it is done. */
  constructor(page: number, end: number, { without, anyOf }: Wanted, regions: Buffer) {
    this.#regions = regions;
    this.#end = BigInt(end) * pageBytes;
    const vector = koffi.address(this.#regions);
    const from = BigInt(page) * pageBytes;
    const fields = [argumentBytes, 0, from, this.#end, from, vector, maxRegions, 0, without, without, anyOf, anyOf];
    fields.forEach((value, index) => this.argument.writeBigUInt64LE(BigInt(value), index * 8));
  }

  /** Where the last call has stopped is past the end. */
  get done(): boolean {
    return this.argument.readBigUInt64LE(32) >= this.#end;
  }

  /** The regions that a call found; the next call goes on where this one stopped. */
  *take(count: number): Generator<PageRange> {
    for (let at = 0; at < count * regionBytes; at += regionBytes) {
      const first = Number(this.#regions.readBigUInt64LE(at) / pageBytes);
      yield { page: first, pages: Number(this.#regions.readBigUInt64LE(at + 8) / pageBytes) - first };
    }
    this.argument.copy(this.argument, 16, 32, 40);
  }
}

function joined(ranges: Iterable<PageRange>): PageRange[] {
  const runs: PageRange[] = [];
  for (const run of ranges) {
    const last = runs.at(-1);
    if (last !== undefined && last.page + last.pages === run.page) last.pages += run.pages;
    else runs.push({ ...run });
  }
  return runs;
}

function ioctlAside(fd: number, argument: Buffer): Promise<number> {
  return new Promise((resolve, reject) => {
    ioctl.async(fd, pagemapScan, argument, (error: Error | null, result: number) => {
      if (error === null) resolve(result);
      else reject(error);
    });
  });
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
