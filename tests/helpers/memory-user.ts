/** The thread of `useMemory`: it stands still where the memory it touches is missing. */
import { parentPort, workerData } from "node:worker_threads";
import koffi from "koffi";
import type { MemoryUse } from "./userfault-region.ts";

const libc = koffi.load(null);
const memcpy = libc.func("void *memcpy(void *, void *, size_t)");
const madvise = libc.func("int madvise(void *, size_t, int)");
const munmap = libc.func("int munmap(void *, size_t)");
const mprotect = libc.func("int mprotect(void *, size_t, int)");
const mremap = libc.func("void *mremap(void *, size_t, size_t, int, void *)");

const pageBytes = 4096;
const dontNeed = 4;
const mayMoveFixed = 3;
const noAccess = 0;
const readWrite = 3;
const address = (page: number): bigint => BigInt(page) * BigInt(pageBytes);

const found: number[] = [];
for (const use of workerData as MemoryUse[]) {
  const bytes = use.pages * pageBytes;
  switch (use.kind) {
    case "read":
      for (let at = 0; at < use.pages; at += 1) {
        const word = Buffer.alloc(4);
        memcpy(word, address(use.page + at), 4);
        found.push(word.readUInt32LE(0));
      }
      break;
    case "forget":
      madvise(address(use.page), bytes, dontNeed);
      break;
    case "protect":
      mprotect(address(use.page), bytes, noAccess);
      break;
    case "unprotect":
      mprotect(address(use.page), bytes, readWrite);
      break;
    case "unmap":
      munmap(address(use.page), bytes);
      break;
    case "move":
      if (koffi.address(mremap(address(use.page), bytes, bytes, mayMoveFixed, address(use.to))) !== address(use.to))
        throw new Error(`page ${use.page} and what follows cannot be moved`);
      break;
  }
}
parentPort?.postMessage(found);
