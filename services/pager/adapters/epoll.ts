/**
 * epoll(7) over descriptors that Node's event loop cannot watch. A thread of Node's pool waits in it; while something is
 * expected at any moment this thread does itself, since the way over the other costs it some 50 µs. In between the event
 * loop has its turns.
 */
import { closeSync } from "node:fs";
import koffi from "koffi";
import { closeBell, makeBell, ring } from "../../shared/adapters/bell.ts";
import { LinuxError } from "../../shared/adapters/linux.ts";

const libc = koffi.load(null);
const create = libc.func("int epoll_create1(int)") as (...args: unknown[]) => number;
const control = libc.func("int epoll_ctl(int, int, int, void *)") as (...args: unknown[]) => number;
const wait = libc.func("int epoll_wait(int, void *, int, int)");

const closeOnExec = 0o2000000;
const operations = { add: 1, delete: 2 } as const;
const readable = 1;
/** A packed struct on x86-64, with padding after the event mask elsewhere. */
const eventBytes = process.arch === "x64" ? 12 : 16;
const dataAt = eventBytes - 8;
const mostEvents = 64;
/** The waiting thread looks up this often, so that it can end. */
const turnMs = 250;
/** So long waits this thread itself, at most, before others have a turn. */
const expectMs = 1;

export interface EpollOptions {
  /** Gets the descriptors with something to read, again and again until it was read. */
  onReady: (fds: number[]) => void;
  /** Something is to be expected within a millisecond. */
  isExpecting: () => boolean;
}

export class Epoll {
  readonly #fd: number;
  readonly #options: EpollOptions;
  readonly #waited = Buffer.alloc(mostEvents * eventBytes);
  readonly #polled = Buffer.alloc(mostEvents * eventBytes);
  /** Rung once, to end the waiting. */
  readonly #bell = makeBell();
  #stopped = false;

  constructor(options: EpollOptions) {
    this.#fd = create(closeOnExec);
    if (this.#fd < 0) throw new LinuxError("epoll_create1", koffi.errno());
    this.#options = options;
    this.add(this.#bell);
    this.#wait();
  }

  add(fd: number): void {
    this.#control(operations.add, fd);
  }

  /** To be called before a descriptor is closed. */
  delete(fd: number): void {
    this.#control(operations.delete, fd);
  }

  /** Looks at once, or waits a little. */
  poll(timeoutMs = 0): number[] {
    const count = (wait as (...args: unknown[]) => number)(this.#fd, this.#polled, mostEvents, timeoutMs);
    return count > 0 ? decode(this.#polled, count) : [];
  }

  /** No more calls of `onReady`. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    // Else the thread of Node's pool would be missing for a while.
    ring(this.#bell);
  }

  #close(): void {
    closeSync(this.#fd);
    closeBell(this.#bell);
  }

  #wait(): void {
    wait.async(this.#fd, this.#waited, mostEvents, turnMs, (error: unknown, count: number) => {
      if (this.#stopped) {
        this.#close();
        return;
      }
      if (error === null && count > 0) this.#options.onReady(decode(this.#waited, count));
      this.#expect();
    });
  }

  /** Waits here while something is expected, a little at a time. */
  #expect(): void {
    const until = performance.now() + expectMs;
    while (!this.#stopped && this.#options.isExpecting()) {
      const ready = this.poll(expectMs);
      if (ready.length > 0) this.#options.onReady(ready);
      if (performance.now() < until) continue;
      setImmediate(() => this.#expect());
      return;
    }
    if (this.#stopped) this.#close();
    else this.#wait();
  }

  #control(operation: number, fd: number): void {
    const event = Buffer.alloc(eventBytes);
    event.writeUInt32LE(readable, 0);
    event.writeInt32LE(fd, dataAt);
    if (control(this.#fd, operation, fd, event) !== 0) throw new LinuxError("epoll_ctl", koffi.errno());
  }
}

const decode = (events: Buffer, count: number): number[] =>
  Array.from({ length: count }, (_, at) => events.readInt32LE(at * eventBytes + dataAt));
