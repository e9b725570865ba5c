/**
 * The processes' memory, read through /proc/PID/mem, while they run or once they are frozen. The descriptors are opened once: an open one keeps to the
 * memory it was opened for, whatever becomes of the pid.
 */
import { closeSync, openSync, readFileSync, readSync } from "node:fs";
import {
  bufferBytesOf,
  encodePages,
  encodeZeroPages,
  isZeroPage,
  maxDataPages,
  maxZeroPages,
  pageBytes,
  pageDataOffset,
  pageFlags,
  type EncodedPages,
  type PageRepeats,
  type PageRequest,
} from "../../shared/core/frames/page-message.ts";
import type { PageHashes } from "../core/page-hashes.ts";
import { PayloadPool } from "../../shared/core/frames/payload-pool.ts";
import type { FrozenProcess } from "../../shared/contracts/dumper.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import type { Answer, PageReader } from "../serve-pages.ts";
import { cgroupNames } from "./processes.ts";

export interface MemoryOptions {
  /** The container runs: what is read is to be confirmed once it is frozen. */
  provisional: boolean;
  /** What was sent while it ran. */
  hashes: PageHashes;
}

export class ContainerMemory {
  readonly #options: MemoryOptions;
  readonly #pool = new PayloadPool();
  readonly #descriptors = new Map<number, number>();
  #closed = false;

  /**
   * Throws `invalid-request` when a host pid is not a process of the container, or not the process it is said to be; while
   * the container runs such a process may just have ended, and is left out.
   */
  constructor(containerId: string, processes: readonly FrozenProcess[], options: MemoryOptions) {
    this.#options = options;
    try {
      for (const { pid, hostPid } of processes) {
        const old = this.#descriptors.get(pid);
        if (old !== undefined) throw new DmigrateError("invalid-request", `process ${pid} is given twice`);
        const descriptor = openMemory(containerId, pid, hostPid);
        if (descriptor instanceof DmigrateError) {
          if (options.provisional) continue;
          throw descriptor;
        }
        this.#descriptors.set(pid, descriptor);
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Reads up to as many pages as asked, at least one: fewer at the end of readable memory. Throws when none can be. */
  read(request: PageRequest, repeats?: PageRepeats): Answer {
    const fd = this.#descriptorOf(request.pid);
    const asked = Math.min(request.pages, maxDataPages);
    const buffer = this.#pool.take(bufferBytesOf(asked));
    const release = (): void => this.#pool.release(buffer);
    try {
      const bytes = readSync(fd, buffer, pageDataOffset, asked * pageBytes, request.vaddr);
      const pages = wholePages(bytes, request);
      const answer = this.#encode(request, buffer, pages, repeats);
      const mayGoOn = !this.#options.provisional && request.pages > maxDataPages;
      if (answer.zeroPages < maxDataPages || !mayGoOn) return { ...answer, release };
      return { ...encodeZeroPages(this.#zeroRun(fd, request, buffer, pages)), release };
    } catch (error) {
      release();
      throw error;
    }
  }

  #encode(
    { pid, vaddr, known }: PageRequest,
    buffer: Buffer,
    pages: number,
    repeats: PageRepeats | undefined,
  ): EncodedPages {
    const { provisional, hashes } = this.#options;
    const page = Number(vaddr) / pageBytes;
    if (provisional) {
      hashes.remember(pid, page, pages, buffer, pageDataOffset);
      const answer = encodePages(buffer, pages, undefined, repeats);
      return { ...answer, flags: answer.flags | pageFlags.provisional };
    }
    const same = known ? hashes.compare(pid, page, pages, buffer, pageDataOffset) : undefined;
    return encodePages(buffer, pages, same, repeats);
  }

  /** No more reads. */
  close(): void {
    this.#closed = true;
    for (const fd of this.#descriptors.values()) closeSync(fd);
    this.#descriptors.clear();
  }

  #descriptorOf(pid: number): number {
    if (this.#closed) throw new DmigrateError("unavailable", "the container's memory was closed");
    const fd = this.#descriptors.get(pid);
    if (fd === undefined) throw new DmigrateError("not-found", `process ${pid} is not one of the frozen processes`);
    return fd;
  }

  /** How many pages are zero from the request's start on, given that `from` are. */
  #zeroRun(fd: number, { vaddr, pages }: PageRequest, buffer: Buffer, from: number): number {
    const most = Math.min(pages, maxZeroPages);
    let zero = from;
    while (zero < most) {
      const asked = Math.min(most - zero, maxDataPages) * pageBytes;
      const bytes = readIfThere(fd, buffer, asked, vaddr + BigInt(zero * pageBytes));
      for (let offset = 0; offset + pageBytes <= bytes; offset += pageBytes) {
        if (!isZeroPage(buffer, offset)) return zero;
        zero++;
      }
      if (bytes < asked) break;
    }
    return zero;
  }
}

/** Memory that is gone with its processes: every page of it is refused, for good. */
export function lostMemory(why: string): PageReader & { close: () => void } {
  const error = new DmigrateError("transfer-failed", `the frozen processes are gone: ${why}`);
  return {
    read: () => {
      throw error;
    },
    close: () => undefined,
  };
}

function wholePages(bytes: number, { pid, vaddr }: PageRequest): number {
  const pages = Math.floor(bytes / pageBytes);
  if (pages === 0)
    throw new DmigrateError("transfer-failed", `process ${pid} has no readable memory at 0x${vaddr.toString(16)}`);
  return pages;
}

/** What can't be read is the next request's failure. */
function readIfThere(fd: number, buffer: Buffer, length: number, position: bigint): number {
  try {
    return readSync(fd, buffer, 0, length, position);
  } catch {
    return 0;
  }
}

function openMemory(containerId: string, pid: number, hostPid: number): number | DmigrateError {
  let fd: number;
  try {
    fd = openSync(`/proc/${hostPid}/mem`, "r");
  } catch (cause) {
    return new DmigrateError(
      "invalid-request",
      `the memory of host process ${hostPid} can't be opened: ${messageOf(cause)}`,
      {
        cause,
      },
    );
  }
  // Looked at with the descriptor open, so that the pid can't have changed hands in between.
  if (cgroupNames(hostPid, containerId) && namespacePids(hostPid).includes(pid)) return fd;
  closeSync(fd);
  return new DmigrateError(
    "invalid-request",
    `host process ${hostPid} is not process ${pid} of container ${containerId.slice(0, 12)}`,
  );
}

/** A process's pid in each of its nested namespaces, outermost first. */
function namespacePids(hostPid: number): number[] {
  try {
    const line = /^NSpid:(.*)$/m.exec(readFileSync(`/proc/${hostPid}/status`, "utf8"))?.[1] ?? "";
    return line.trim().split(/\s+/).map(Number);
  } catch {
    return [];
  }
}
