/**
 * Duplicates of a page daemon's userfaultfds, which the agent holds. The last close of one makes what is missing read as
 * zeros: with the daemon's death the container would go on with them in its memory. While a duplicate is open, threads that
 * need a missing page wait.
 */
import { closeSync } from "node:fs";
import { duplicateFrom, openProcess } from "../../shared/adapters/pidfd.ts";
import { isAlive } from "./userfaultfd.ts";

export class HeldDescriptors {
  readonly #pidfd: number;
  readonly #held = new Map<number, number>();

  /** `hostPid`: of the daemon, which is known to live. Throws LinuxError. */
  constructor(hostPid: number) {
    this.#pidfd = openProcess(hostPid);
  }

  /** Lets go of those whose process is gone. Answers whether any is left. */
  dropDead(): boolean {
    for (const [id, fd] of [...this.#held]) if (!isAlive(fd)) this.letGo(id);
    return this.#held.size > 0;
  }

  /** `fd`: the daemon's. Throws LinuxError: the daemon is gone, or has closed it. */
  hold(id: number, fd: number): void {
    this.letGo(id);
    this.#held.set(id, duplicateFrom(this.#pidfd, fd));
  }

  /** Nothing where it is not held. */
  letGo(id: number): void {
    const fd = this.#held.get(id);
    this.#held.delete(id);
    if (fd !== undefined) closeSync(fd);
  }

  close(): void {
    for (const id of [...this.#held.keys()]) this.letGo(id);
    closeSync(this.#pidfd);
  }
}
