/** Shared memory of this very process, sent to a directory and compared. */
import { closeSync, mkdtempSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import koffi from "koffi";
import { afterEach, beforeEach, expect, test } from "vitest";
import { decodePagemap, encodePagemap } from "../../../services/shared/core/criu/process-images.ts";
import type { FrameHandler } from "../../../services/shared/link/framed.ts";
import { createLog } from "../../../services/shared/log.ts";
import {
  mappedSegments,
  mostSegments,
  openSegments,
  pagesOf,
} from "../../../services/shipper/adapters/shared-segments.ts";
import { TreesJob } from "../../../services/shipper/adapters/trees-job.ts";
import { FileJobs } from "../../../services/shipper/file-jobs.ts";
import { ReceiveJobs } from "../../../services/shipper/receive-jobs.ts";
import { SharedMemory } from "../../../services/shipper/shared-memory.ts";
import { shipImages } from "../../../services/shipper/ship-images.ts";
import { linkPair } from "../../helpers/link-pair.ts";

const libc = koffi.load(null);
type Call = (...args: unknown[]) => unknown;
const mmap = libc.func("void *mmap(void *, size_t, int, int, int, int64_t)") as Call;
const munmap = libc.func("int munmap(void *, size_t)") as Call;
const memset = libc.func("void *memset(void *, int, size_t)") as Call;
const memfdCreate = libc.func("int memfd_create(const char *, unsigned int)") as Call;
const ftruncate = libc.func("int ftruncate(int, int64_t)") as Call;
const [protection, sharedAnonymous] = [3, 0x21];
/** Without a huge page to be had: none is touched. */
const [hugePages, sharedNoReserve, hugePageBytes] = [4, 0x4001, 2 << 20];
const pageBytes = 4096;
const pages = 600;
const { signal } = new AbortController();

let dir: string;
let images: string;
let jobs: FileJobs;
let memory: unknown;
let shared: SharedMemory | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "dmigrate-shared-"));
  images = join(dir, "images");
  mkdirSync(join(images, "parent"), { recursive: true });
  const handlers: { source?: FrameHandler; target?: FrameHandler } = {};
  const { links } = linkPair(
    (frame) => handlers.source?.(frame),
    (frame) => handlers.target?.(frame),
  );
  jobs = new FileJobs();
  const receive = new ReceiveJobs({
    log: createLog("test", "silent"),
    onDone: () => undefined,
    open: (spec) =>
      new TreesJob(
        spec.kind === "trees" ? spec.trees : [],
        ({ kind }) => {
          const path = kind === "shared" ? join(images, "parent") : images;
          return Promise.resolve({ path, layer: undefined, keepAttributes: false, label: "the images" });
        },
        signal,
      ),
  });
  handlers.source = jobs.attach(links[0]);
  handlers.target = receive.attach(links[1]);
  memory = mmap(null, pages * pageBytes, protection, sharedAnonymous, -1, 0);
  // Two runs with a hole between.
  for (let page = 0; page < pages; page++) if (page < 300 || page >= 400) fill(page, page & 255);
});

afterEach(() => {
  shared?.close();
  munmap(memory, pages * pageBytes);
  jobs.close(new Error("the test is over"));
  rmSync(dir, { recursive: true });
});

const fill = (page: number, byte: number): unknown =>
  memset(koffi.address(memory) + BigInt(page * pageBytes), byte, pageBytes);

function open(): SharedMemory {
  shared = SharedMemory.open([process.pid]);
  if (shared === undefined) throw new Error("this process shares no memory");
  return shared;
}

/** The pages of the segment that this test has made, as the images in a directory have them. */
function readImages(from: string, inode: string): Map<number, number> {
  const { pagesId, entries } = decodePagemap(readFileSync(join(from, `pagemap-shmem-${inode}.img`)));
  const bytes = readFileSync(join(from, `pages-${pagesId}.img`));
  const found = new Map<number, number>();
  let at = 0;
  for (const { page, pages: count } of entries)
    for (let each = page; each < page + count; each++, at += pageBytes) {
      const [first = -1] = bytes.subarray(at, at + 1);
      if (bytes.subarray(at, at + pageBytes).some((byte) => byte !== first)) throw new Error(`page ${each} is mixed`);
      found.set(each, first);
    }
  return found;
}

const inodeOfMemory = (): string => {
  const address = koffi.address(memory).toString(16);
  const [, inode = ""] =
    new RegExp(`^0*${address}-\\S+ rw-s \\S+ \\S+ (\\d+)`, "m").exec(readFileSync("/proc/self/maps", "latin1")) ?? [];
  return inode;
};

test("what is sent is what an earlier dump would have had, and of the next one only changed pages are sent", async () => {
  const inode = inodeOfMemory();
  const memoryAhead = open();
  await memoryAhead.send(jobs, signal);
  const expected = Array.from({ length: pages }, (_, page) => [page, page & 255] as const).filter(
    ([page]) => page < 300 || page >= 400,
  );
  expect([...readImages(join(images, "parent"), inode)]).toEqual(expected);

  fill(7, 99);
  fill(350, 1);
  const there = await memoryAhead.unchanged([process.pid], signal);
  expect(there.get(Number(inode))).toEqual([
    { page: 0, pages: 7 },
    { page: 8, pages: 292 },
    { page: 400, pages: 200 },
  ]);

  // As CRIU dumps it now.
  const dump = join(dir, "dump");
  mkdirSync(dump);
  const entries = [
    { page: 0, pages: 300, lazy: false },
    { page: 350, pages: 1, lazy: false },
    { page: 400, pages: 200, lazy: false },
  ];
  const dumped = entries.flatMap(({ page, pages: count }) => Array.from({ length: count }, (_, at) => page + at));
  const byteOf = (page: number): number => (page === 7 ? 99 : page === 350 ? 1 : page & 255);
  writeFileSync(join(dump, `pagemap-shmem-${inode}.img`), encodePagemap({ pagesId: 5, entries }));
  writeFileSync(join(dump, "pages-5.img"), Buffer.concat(dumped.map((page) => Buffer.alloc(pageBytes, byteOf(page)))));
  writeFileSync(join(dump, "inventory.img"), "the rest");
  await shipImages(jobs, dump, there, signal);
  expect(readdirSync(images).sort()).toEqual(["inventory.img", `pagemap-shmem-${inode}.img`, "pages-5.img", "parent"]);
  const sent = readFileSync(join(images, "pages-5.img"));
  expect(sent).toEqual(Buffer.concat([Buffer.alloc(pageBytes, 99), Buffer.alloc(pageBytes, 1)]));
  expect([...readImages(join(images, "parent"), inode)]).toEqual(expected);
  // CRIU alone reads such a pagemap; ours says that it needs the parent.
  expect(() => decodePagemap(readFileSync(join(images, `pagemap-shmem-${inode}.img`)))).toThrow("earlier dump");
});

test("without what was sent before, all images are sent and nothing else is left", async () => {
  await open().send(jobs, signal);
  const dump = join(dir, "dump");
  mkdirSync(dump);
  writeFileSync(join(dump, "inventory.img"), "the rest");
  await shipImages(jobs, dump, new Map(), signal);
  expect(readdirSync(images)).toEqual(["inventory.img"]);
});

test("a segment that is not mapped any more counts for nothing", async () => {
  const inode = Number(inodeOfMemory());
  const memoryAhead = open();
  await memoryAhead.send(jobs, signal);
  expect((await memoryAhead.unchanged([process.pid], signal)).has(inode)).toBe(true);
  expect((await memoryAhead.unchanged([], signal)).has(inode)).toBe(false);
});

test("memory of huge pages, which may have the same numbers on a device of its own, is none of these segments", () => {
  const fd = memfdCreate("huge", hugePages) as number;
  ftruncate(fd, hugePageBytes);
  const huge = mmap(null, hugePageBytes, protection, sharedNoReserve, fd, 0);
  try {
    const [, inode] = /rw-s \S+ \S+ (\d+) +\/memfd:huge /.exec(readFileSync("/proc/self/maps", "latin1")) ?? [];
    expect(inode).toBeDefined();
    const mapped = mappedSegments([process.pid]);
    expect(mapped.has(Number(inode))).toBe(false);
    expect(mapped.has(Number(inodeOfMemory()))).toBe(true);
  } finally {
    munmap(huge, hugePageBytes);
    closeSync(fd);
  }
});

test("of any number of segments no more are opened than there are descriptors to spare", () => {
  const many = Array.from({ length: mostSegments + 10 }, () =>
    mmap(null, pageBytes, protection, sharedAnonymous, -1, 0),
  );
  try {
    const mapped = mappedSegments([process.pid]);
    expect(mapped.size).toBeGreaterThan(mostSegments);
    const segments = openSegments(mapped);
    for (const { fd } of segments) closeSync(fd);
    expect(segments).toHaveLength(mostSegments);
  } finally {
    for (const address of many) munmap(address, pageBytes);
  }
});

test("when one can't be opened, those that were are closed", () => {
  const descriptors = (): number => readdirSync("/proc/self/fd").length;
  const mapped = mappedSegments([process.pid]);
  const before = descriptors();
  // A path that no mapping has.
  expect(() => openSegments(new Map([...mapped, [1, "/proc/self/maps/none"]]))).toThrow("ENOTDIR");
  expect(descriptors()).toBe(before);
});

test("of a segment whose pages lie scattered only the first are taken", () => {
  const inode = Number(inodeOfMemory());
  const path = mappedSegments([process.pid]).get(inode) ?? "";
  const [segment] = openSegments(new Map([[inode, path]]));
  if (segment === undefined) throw new Error("the segment is gone");
  const first = { page: 0, pages: 300 };
  try {
    expect(pagesOf(segment.fd, 0)).toEqual([]);
    expect(pagesOf(segment.fd, 1)).toEqual([first]);
    expect(pagesOf(segment.fd, 10)).toEqual([first, { page: 400, pages: 200 }]);
  } finally {
    closeSync(segment.fd);
  }
});
