/** What this process holds open. */
import { readdirSync, readlinkSync } from "node:fs";

/** The descriptors of files under a directory that are open in this process, those without a name among them. */
export const descriptorsIn = (directory: string): number[] =>
  readdirSync("/proc/self/fd")
    .filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith(`${directory}/`);
      } catch {
        return false; // The listing's own.
      }
    })
    .map(Number);
