/**
 * The daemon's bulk threads: one for each reader at the source. Memory is dealt out to them by units, always the same ones
 * to each: what a reader remembers of a page is of use when it is asked for the page again.
 */
import { readerRoles } from "../../shared/link/preamble.ts";
import { FillLocks } from "../adapters/fill-lock.ts";
import type { EarlyRun } from "../core/early-pages.ts";
import type { Placement } from "../core/placement.ts";
import { BulkLane, type BulkLaneEvents, type BulkLink, type FillResult } from "./bulk-lane.ts";
import type { BulkRequest } from "./bulk-messages.ts";

/** What is asked for together in the background is of one unit: 1 MiB. */
export const unitPages = 256;

/** Of the time; a thread on a free processor waits for hardly any. */
const shortShare = 0.15;

export class BulkLanes {
  readonly #lanes: BulkLane[] = [];
  /** Held while what is known of the memory changes. */
  readonly lock = new FillLocks();

  /** Starts the first thread, ahead of need; it inherits this one's priority. */
  constructor() {
    this.#add();
  }

  get bytesReceived(): number {
    return this.#lanes.reduce((sum, lane) => sum + lane.bytesReceived, 0);
  }

  /** Some thread had to wait for a processor for a good part of the time. */
  get isShortOfProcessors(): boolean {
    return this.#lanes.some(({ processorWait }) => processorWait > shortShare);
  }

  /** Connects to each of the source's readers. Throws `unavailable`, `unauthorized` or `cancelled`. */
  async connect(link: Omit<BulkLink, "role">, readers: number, events: BulkLaneEvents): Promise<void> {
    while (this.#lanes.length < readers) this.#add();
    const connecting = readerRoles
      .slice(0, this.#lanes.length)
      .map((role, at) => this.#lane(at).connect({ ...link, role }, events));
    await Promise.all(connecting);
  }

  /** Lets go of the source: another one may follow. Resolves when nothing more is heard of it. */
  async disconnect(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.disconnect()));
  }

  /** Asks the source. With a placement what comes is filled in at once, if that is the latest still. */
  request(request: BulkRequest, placement?: Placement): void {
    for (const [lane, ranges] of this.#dealOut(request)) lane.request({ ...request, ranges }, placement);
  }

  /** Fills in a run that is here. */
  fill(run: EarlyRun, placement: Placement, onResult: (result: FillResult) => void): void {
    this.#laneOf(run.page).fill(run, placement, onResult);
  }

  /** What was said and not sent yet: it is sent at the end of the turn, unless that is too late. */
  flush(): void {
    for (const lane of this.#lanes) lane.flush();
  }

  /** Ends the threads. Resolves when they have ended, after what they were doing just now. */
  async close(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.close()));
  }

  #add(): void {
    const lane = new BulkLane();
    this.#lanes.push(lane);
    this.lock.add(lane.lock);
  }

  #dealOut({ ranges }: BulkRequest): Map<BulkLane, BulkRequest["ranges"][number][]> {
    const dealt = new Map<BulkLane, BulkRequest["ranges"][number][]>();
    for (const { page, pages } of ranges)
      for (let at = page; at < page + pages;) {
        const end = Math.min(page + pages, at - (at % unitPages) + unitPages);
        const lane = this.#laneOf(at);
        const range = { page: at, pages: end - at };
        const there = dealt.get(lane);
        if (there === undefined) dealt.set(lane, [range]);
        else there.push(range);
        at = end;
      }
    return dealt;
  }

  #laneOf(page: number): BulkLane {
    return this.#lane(Math.floor(page / unitPages) % this.#lanes.length);
  }

  #lane(at: number): BulkLane {
    const lane = this.#lanes[at];
    if (lane === undefined) throw new Error(`there is no bulk thread ${at}`);
    return lane;
  }
}
