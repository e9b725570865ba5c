/**
 * The memory of the restored processes: hears what the kernel tells of it, and fills in what arrives.
 *
 * The one rule: between an event that takes pages away (remove, unmap, move, fork) and the note of it here, nothing is
 * copied. The kernel refuses copies from the begin of such a change until its event was read; here, what was read is
 * noted before the next copy. Another thread copies too, to places of a generation (adapters/fill-lock.ts), which ends
 * with the reading of such an event. Moves and forks are noted once no other change is under way: it may have happened
 * before.
 *
 * The last close of a userfaultfd makes what is missing read as zeros. So one is closed only when nothing is missing, or
 * when the process is gone; and when nobody holds a duplicate any more (held-elsewhere.ts).
 */
import koffi from "koffi";
import type { PageRange } from "../../shared/core/criu/process-images.ts";
import { pageBytes } from "../../shared/core/page-server/codec.ts";
import {
  closeUserfaultfd,
  copyPages,
  isAlive,
  isChanging,
  isMapped,
  prepareMapping,
  readEvents,
  wake,
  zeroPages,
} from "../adapters/userfaultfd.ts";
import type { FillLocks } from "../adapters/fill-lock.ts";
import type { EarlyRun } from "../core/early-pages.ts";
import { ChangeLog } from "../core/change-log.ts";
import { FaultPattern } from "../core/fault-pattern.ts";
import { LatencyHistogram } from "../core/latency-histogram.ts";
import {
  asTheyHappened,
  isChange,
  mayBeEarly,
  wasBefore,
  type MemoryChange,
  type MemoryEvent,
} from "../core/memory-events.ts";
import { MissingPages } from "../core/missing-pages.ts";
import { partsOf, type Filled, type Part, type Placement } from "../core/placement.ts";
import { WantedPages } from "../core/wanted-pages.ts";
import type { ProcessPages } from "../page-server.ts";
import { HeldElsewhere, type Holder } from "./held-elsewhere.ts";

interface AddressSpace {
  /** Never used again. */
  readonly id: number;
  readonly fd: number;
  /** The process of the images whose pages it has: its own, or that of the ancestor it was forked from. */
  readonly pid: number;
  readonly missing: MissingPages;
  readonly pattern: FaultPattern;
  /** Pages that threads wait for, and since when. */
  readonly waiting: Map<number, number>;
  /** Heard and not noted: something that happened before is still to be told. */
  readonly told: MemoryEvent[];
  toldSince: number;
  /** What was filled in elsewhere has gone the same way. */
  readonly changes: ChangeLog;
}

export interface AddressSpacesOptions {
  /** Descriptors to watch, and to watch no more. */
  watch: (fd: number) => void;
  unwatch: (fd: number) => void;
  /** Shared with whoever else fills pages in. */
  lock: FillLocks;
  /** A thread waits for a page: of process `pid`, and of the images. */
  onFault: (pid: number, image: number) => void;
  /** Pages of the images are worth having soon; they were taken from the wanted ones. */
  onNear: (pid: number, ranges: PageRange[]) => void;
  holder?: Holder | undefined;
}

/** Largest fetch of a fault's neighbours, in pages: 256 KiB. */
const nearPages = 64;
/** How often is looked at once whether a change is over, and how long in all: then what was told must do. */
const mostTries = 20;
const mostChangingMs = 1_000;

export class AddressSpaces {
  readonly #options: AddressSpacesOptions;
  readonly #held: HeldElsewhere;
  /** By descriptor. */
  readonly #spaces = new Map<number, AddressSpace>();
  readonly #byId = new Map<number, AddressSpace>();
  #lastId = 0;
  readonly #ranges = new Map<number, ProcessPages["ranges"]>();
  readonly wanted = new Map<number, WantedPages>();
  readonly faultLatency = new LatencyHistogram();
  pagesFaulted = 0;
  pagesPrefetched = 0;
  zeroPages = 0;
  /** Pages whose thread waits for zeros, refused while the memory changes. */
  #unsettled: { space: AddressSpace; page: number }[] = [];
  /** Where nobody has looked around yet. */
  readonly #faulted: { space: AddressSpace; page: number }[] = [];
  #finished = false;

  constructor(options: AddressSpacesOptions) {
    this.#options = options;
    this.#held = new HeldElsewhere(options.holder);
  }

  /** None is left. */
  get empty(): boolean {
    return this.#spaces.size === 0;
  }

  /** What is missing in each process of the images. */
  learn(processes: readonly ProcessPages[]): void {
    for (const { pid, ranges } of processes) {
      this.#ranges.set(pid, ranges);
      this.wanted.set(pid, new WantedPages(ranges));
    }
  }

  /** Takes over the userfaultfd of a process. */
  adopt(pid: number, fd: number): void {
    this.#add(fd, pid, new MissingPages(this.#ranges.get(pid) ?? []));
  }

  /** Every process is restored: what is not mapped now never will be. */
  finish(): void {
    this.#finished = true;
    for (const { fd, missing } of this.#spaces.values()) for (const { page } of missing.all()) prepareMapping(fd, page);
    this.closeWhole();
  }

  /** Reads what the kernel tells through a descriptor, if it is one of ours. */
  hear(fd: number): void {
    const space = this.#spaces.get(fd);
    if (space === undefined) return;
    if (space.told.length === 0) space.toldSince = performance.now();
    this.#read(space);
    this.#noteTold(space);
    this.closeWhole();
  }

  #read(space: AddressSpace): void {
    const { lock } = this.#options;
    const events = lock.exclusively(() => {
      const read = readEvents(space.fd);
      if (read.some(({ kind }) => kind !== "fault")) lock.renew();
      return read;
    });
    space.told.push(...events);
  }

  /** Reads all there is to hear, and tries again what was refused. */
  hearAll(): void {
    for (const fd of [...this.#spaces.keys()]) this.hear(fd);
    const again = this.#unsettled;
    this.#unsettled = [];
    // The kernel tells of faults before it tells of the move that put something there: look again what belongs there.
    for (const { space, page } of again) if (this.#spaces.get(space.fd) === space) this.#fault(space, page);
  }

  /** Something is to be tried again, after a pause. */
  get unsettled(): boolean {
    return this.#unsettled.length > 0 || [...this.#spaces.values()].some(({ told }) => told.length > 0);
  }

  /** Where pages of process `pid` are missing; undefined while the memory is changing: hear, and ask again. */
  place(pid: number, ranges: readonly PageRange[]): Placement | undefined {
    const spaces = [...this.#spaces.values()].filter((space) => space.pid === pid);
    if (!spaces.every((space) => this.#noteTold(space))) return undefined;
    const places = spaces.flatMap(({ id, fd, missing }) =>
      ranges.flatMap(({ page, pages }) => missing.placesOf(page, pages)).map((place) => ({ ...place, space: id, fd })),
    );
    return { generation: this.#options.lock.generation, places };
  }

  /** Somebody else has filled in pages, where they were placed in this generation. */
  noteFilled({ generation, filled }: { generation: number; filled: readonly Filled[] }): void {
    for (const { space: id, page, pages, isZero } of filled) {
      const space = this.#byId.get(id);
      if (space === undefined) continue;
      // What is not noted is merely filled in once more, and found there.
      for (const now of space.changes.follow(generation, { page, pages }))
        this.#filled(space, now.page, now.pages, isZero);
      this.#closeIfWhole(space);
    }
  }

  /**
   * Fills in pages wherever they are missing; no span may be "same". False when the memory is changing: hear, and fill
   * again; what is filled already is then passed over.
   */
  fill({ pid, page: image, pages, spans, payload }: EarlyRun): boolean {
    const base = koffi.address(payload);
    for (const space of this.#spaces.values()) {
      if (space.pid !== pid) continue;
      if (!this.#noteTold(space)) return false;
      for (const part of space.missing.placesOf(image, pages).flatMap((place) => partsOf(place, image, spans))) {
        const outcome = this.#fillPart(space, part, base);
        if (outcome === "changing") return false;
        if (outcome === "gone") break;
      }
      this.#closeIfWhole(space);
    }
    return true;
  }

  /** Everything that is missing is to be asked for: for when nothing is under way any more. */
  wantMissing(): void {
    for (const { pid, missing } of this.#spaces.values()) {
      const wanted = this.wanted.get(pid);
      for (const { image, pages } of missing.all()) wanted?.add(image, pages);
    }
  }

  /** The holder is another one, which holds nothing yet, or there is none any more. */
  holdAnew(): void {
    for (const { id, fd } of this.#spaces.values()) this.#held.hold(id, fd);
    this.closeWhole();
  }

  /** No duplicate of it is held any more. */
  letGone(id: number): void {
    this.#held.letGone(id);
    const space = this.#byId.get(id);
    if (space !== undefined) this.#closeIfWhole(space);
  }

  /** Lets go of processes that have ended. */
  dropDead(): void {
    for (const space of [...this.#spaces.values()]) if (!isAlive(space.fd)) this.#close(space);
  }

  /** Lets go of processes that have all they need. */
  closeWhole(): void {
    for (const space of [...this.#spaces.values()]) this.#closeIfWhole(space);
  }

  #fillPart(space: AddressSpace, { page, image, pages, offset }: Part, base: bigint): "done" | "changing" | "gone" {
    const source = offset === undefined ? undefined : base + BigInt(offset);
    let done = 0;
    let part = pages;
    while (done < pages) {
      const at = page + done;
      const { outcome, pages: filled } =
        source === undefined
          ? zeroPages(space.fd, at, part)
          : copyPages(space.fd, at, source + BigInt(done * pageBytes), part);
      if (outcome === "changing") return "changing";
      if (outcome === "gone") {
        this.#close(space);
        return "gone";
      }
      if (outcome === "absent" && part > 1) {
        // Perhaps a border between two mappings: each takes its own.
        part = Math.ceil(part / 2);
        continue;
      }
      const advance = outcome === "done" ? filled : 1;
      if (outcome === "absent") this.#passOver(space, at, image + done);
      else this.#filled(space, at, advance, source === undefined);
      if (outcome !== "done") wake(space.fd, at, 1);
      done += advance;
      part = pages - done;
    }
    return "done";
  }

  /** A page that no registered mapping holds: unmapped meanwhile, or, while the restore goes on, not mapped yet. */
  #passOver(space: AddressSpace, page: number, image: number): void {
    if (!this.#finished) {
      this.wanted.get(space.pid)?.add(image, 1);
      return;
    }
    space.missing.delete(page, 1);
    space.waiting.delete(page);
  }

  #filled(space: AddressSpace, page: number, pages: number, isZero: boolean): void {
    space.missing.delete(page, pages);
    if (isZero) this.zeroPages += pages;
    let faulted = 0;
    for (const [at, since] of space.waiting) {
      if (at < page || at >= page + pages) continue;
      space.waiting.delete(at);
      this.faultLatency.record(performance.now() - since);
      faulted += 1;
    }
    this.pagesFaulted += faulted;
    this.pagesPrefetched += pages - faulted;
  }

  /** False while there is more to hear first. */
  #noteTold(space: AddressSpace): boolean {
    const { fd, told, toldSince } = space;
    if (told.length === 0) return true;
    // The thread whose event was read needs a moment to say that its change is over.
    for (let tries = 0; told.some(mayBeEarly) && isChanging(fd); tries++) {
      if (tries === mostTries && performance.now() - toldSince < mostChangingMs) return false;
      if (tries >= mostTries) break;
      this.#read(space);
    }
    this.#noteAll(space, told.splice(0));
    return true;
  }

  /** What changed first, what threads wait for last: it is to be looked for where it is now. */
  #noteAll(space: AddressSpace, events: readonly MemoryEvent[]): void {
    const changes = asTheyHappened(events.filter(isChange), (page) => isMapped(space.fd, page));
    const before = events.some(({ kind }) => kind === "fork") ? space.missing.clone() : undefined;
    for (const change of changes) this.#note(space, change);
    for (const [at, event] of events.entries()) {
      if (event.kind !== "fork" || before === undefined) continue;
      const missing = before.clone();
      for (const change of changes) {
        const isInChild = wasBefore(change, (page) => isMapped(event.child, page)) ?? events.indexOf(change) < at;
        if (isInChild) missing.apply(change);
      }
      this.#add(event.child, space.pid, missing);
    }
    for (const event of events) if (event.kind === "fault") this.#fault(space, event.page);
  }

  #note(space: AddressSpace, change: MemoryChange): void {
    space.changes.note(this.#options.lock.generation, change);
    if (change.kind === "move") {
      space.missing.apply(change);
      this.#forgetWaiting(space, change.from, change.pages);
      wake(space.fd, change.from, change.pages);
      return;
    }
    // What was removed and is touched again faults here, and finds nothing missing. The kernel could give zeros without
    // asking, were the part not watched; but that splits the mapping, and the process's mremap of the whole fails.
    this.#drop(space, change);
  }

  #drop(space: AddressSpace, change: Exclude<MemoryChange, { kind: "move" }>): void {
    const { page, pages } = change;
    const dropped = space.missing.within(page, pages);
    space.missing.apply(change);
    this.#forgetWaiting(space, page, pages);
    wake(space.fd, page, pages);
    const isShared = [...this.#spaces.values()].some((other) => other !== space && other.pid === space.pid);
    if (!isShared) for (const { image, pages: count } of dropped) this.wanted.get(space.pid)?.delete(image, count);
  }

  #forgetWaiting({ waiting }: AddressSpace, page: number, pages: number): void {
    for (const at of waiting.keys()) if (at >= page && at < page + pages) waiting.delete(at);
  }

  #fault(space: AddressSpace, page: number): void {
    const image = space.missing.imageOf(page);
    if (image === undefined) {
      this.#giveZero(space, page);
      return;
    }
    if (space.waiting.has(page)) return;
    space.waiting.set(page, performance.now());
    const wanted = this.wanted.get(space.pid);
    wanted?.delete(image, 1);
    this.#options.onFault(space.pid, image);
    this.#faulted.push({ space, page });
  }

  /** Asks for what is worth having soon after the faults that were heard of: less urgent than they are. */
  lookAround(): void {
    for (const { space, page } of this.#faulted.splice(0)) {
      const wanted = this.wanted.get(space.pid);
      const near = space.pattern
        .next(page)
        .flatMap((ahead) => space.missing.within(ahead.page, ahead.pages))
        .flatMap((place) => wanted?.takeWithin(place.image, place.pages, nearPages) ?? []);
      if (near.length > 0) this.#options.onNear(space.pid, near);
    }
  }

  /** A page that the images do not have: zero, unless somebody filled it a moment ago. */
  #giveZero(space: AddressSpace, page: number): void {
    const { outcome } = zeroPages(space.fd, page, 1);
    if (outcome === "changing") this.#unsettled.push({ space, page });
    // Nobody waits in a process that is gone.
    else if (outcome === "exists" || outcome === "absent") wake(space.fd, page, 1);
  }

  #add(fd: number, pid: number, missing: MissingPages): void {
    const pattern = new FaultPattern();
    const id = ++this.#lastId;
    const space: AddressSpace = {
      id,
      fd,
      pid,
      missing,
      pattern,
      waiting: new Map(),
      told: [],
      toldSince: 0,
      changes: new ChangeLog(),
    };
    this.#spaces.set(fd, space);
    this.#byId.set(id, space);
    this.#held.hold(id, fd);
    this.#options.watch(fd);
  }

  #closeIfWhole(space: AddressSpace): void {
    const isWhole = this.#finished && space.missing.empty && space.told.length === 0;
    if (isWhole && this.#spaces.get(space.fd) === space && this.#held.isFree(space.id)) this.#close(space);
  }

  #close(space: AddressSpace): void {
    // It may have children that live on.
    this.#noteAll(space, space.told.splice(0));
    this.#spaces.delete(space.fd);
    this.#byId.delete(space.id);
    this.#options.unwatch(space.fd);
    this.#held.forget(space.id);
    const { lock } = this.#options;
    lock.exclusively(() => {
      lock.renew();
      closeUserfaultfd(space.fd);
    });
    const isShared = [...this.#spaces.values()].some((other) => other.pid === space.pid);
    if (!isShared) this.wanted.delete(space.pid);
  }
}
