/**
 * /sys/kernel/rcu_expedited: with 1, namespaces are torn down and mounts changed without waiting for RCU grace
 * periods, which takes some 50 ms off a restore, and as much off a dump. It is the whole machine's, so it is set for these
 * only.
 */
import { readFileSync, writeFileSync } from "node:fs";

const path = "/sys/kernel/rcu_expedited";

export interface RcuSwitch {
  /** The value to put back later; undefined when the file cannot be used, or is on already. */
  before(): string | undefined;
  /** Turns it on; several users may overlap. False when it cannot be written. */
  on(): boolean;
  /** Puts `before` back once the last user that turned it on is done. */
  off(before: string): void;
}

export function createRcuSwitch(file: string = path): RcuSwitch {
  let users = 0;
  let original: string | undefined;
  const write = (value: string): boolean => {
    try {
      writeFileSync(file, value);
      return true;
    } catch {
      return false; // Read-only /sys, or a kernel without it: only slower.
    }
  };
  return {
    before() {
      if (users > 0) return original;
      try {
        const value = readFileSync(file, "utf8").trim();
        original = value === "0" ? value : undefined;
      } catch {
        original = undefined;
      }
      return original;
    },
    on() {
      if (!write("1")) return false;
      users += 1;
      return true;
    },
    off(before) {
      users = Math.max(0, users - 1);
      if (users === 0) write(before);
    },
  };
}

/**
 * Does `work` with it on. `note` is told before that what is to be put back, for whoever comes after a crash; undefined when
 * it stays as it is.
 */
export async function expedited<T>(
  rcu: RcuSwitch,
  note: (rcuBefore: string | undefined) => void,
  work: () => Promise<T>,
): Promise<T> {
  const rcuBefore = rcu.before();
  note(rcuBefore);
  const isOn = rcuBefore !== undefined && rcu.on();
  try {
    return await work();
  } finally {
    if (isOn) rcu.off(rcuBefore);
  }
}
