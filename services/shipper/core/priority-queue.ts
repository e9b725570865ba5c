/**
 * What leaves the source, most urgent first: 0 faulted pages · 1 what the resume waits for (CRIU images, the file
 * delta) · 2 pages near a fault · 3 background pages, and the container's image · 4 files that no resume waits for. 0 and 1
 * are strict; the rest share by weight, in bytes, so that none starves. Within a class: first in, first out.
 */

export type Priority = 0 | 1 | 2 | 3 | 4;

const strict = [0, 1] as const;
const shared = [2, 3, 4] as const;
/** Shares of the bytes when all of them have something to send. */
const weights = { 2: 8, 3: 4, 4: 1 } as const;

/** A queued item; the queue's own fields tell where it stands. */
export interface Entry<T> {
  readonly item: T;
  readonly bytes: number;
  priority: Priority;
  queued: boolean;
  previous: Entry<T> | undefined;
  next: Entry<T> | undefined;
}

interface Lane<T> {
  first: Entry<T> | undefined;
  last: Entry<T> | undefined;
  bytes: number;
  /** Bytes sent over weight: the lane that has had least goes next. */
  service: number;
}

const emptyLane = <T>(): Lane<T> => ({ first: undefined, last: undefined, bytes: 0, service: 0 });

export class PriorityQueue<T> {
  readonly #lanes: Record<Priority, Lane<T>> = {
    0: emptyLane(),
    1: emptyLane(),
    2: emptyLane(),
    3: emptyLane(),
    4: emptyLane(),
  };
  /** Service of the lane that went last: a lane that was empty starts here, and has saved up nothing. */
  #served = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Bytes that wait in a class. */
  bytesOf(priority: Priority): number {
    return this.#lanes[priority].bytes;
  }

  push(item: T, priority: Priority, bytes: number): Entry<T> {
    const entry: Entry<T> = { item, bytes, priority, queued: false, previous: undefined, next: undefined };
    this.#append(entry);
    return entry;
  }

  /** The next entry to send, without taking it. */
  peek(): Entry<T> | undefined {
    for (const priority of strict) {
      const { first } = this.#lanes[priority];
      if (first !== undefined) return first;
    }
    let least: Lane<T> | undefined;
    for (const priority of shared) {
      const lane = this.#lanes[priority];
      if (lane.first !== undefined && (least === undefined || lane.service < least.service)) least = lane;
    }
    return least?.first;
  }

  pop(): Entry<T> | undefined {
    const entry = this.peek();
    if (entry === undefined) return undefined;
    this.#remove(entry);
    const { priority } = entry;
    if (priority !== 0 && priority !== 1) {
      const lane = this.#lanes[priority];
      this.#served = lane.service;
      lane.service += entry.bytes / weights[priority];
    }
    return entry;
  }

  /** Makes a queued entry more urgent; false when it has left the queue, or is as urgent already. */
  raise(entry: Entry<T>, priority: Priority): boolean {
    if (!entry.queued || priority >= entry.priority) return false;
    this.#remove(entry);
    entry.priority = priority;
    this.#append(entry);
    return true;
  }

  /** Takes an entry out; false when it has left already. */
  cancel(entry: Entry<T>): boolean {
    if (!entry.queued) return false;
    this.#remove(entry);
    return true;
  }

  #append(entry: Entry<T>): void {
    const lane = this.#lanes[entry.priority];
    if (lane.first === undefined) {
      lane.first = entry;
      lane.service = Math.max(lane.service, this.#served);
    } else if (lane.last !== undefined) {
      lane.last.next = entry;
      entry.previous = lane.last;
    }
    lane.last = entry;
    lane.bytes += entry.bytes;
    entry.queued = true;
    this.#length++;
  }

  #remove(entry: Entry<T>): void {
    const lane = this.#lanes[entry.priority];
    if (entry.previous === undefined) lane.first = entry.next;
    else entry.previous.next = entry.next;
    if (entry.next === undefined) lane.last = entry.previous;
    else entry.next.previous = entry.previous;
    entry.previous = undefined;
    entry.next = undefined;
    entry.queued = false;
    lane.bytes -= entry.bytes;
    this.#length--;
  }
}
