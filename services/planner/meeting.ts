/** What a migration meets: how fast its memory really moves over the link, for the next plan. */
import type { Run } from "./run.ts";

/** Shorter, or less, says too little: the pager's counts are a fraction of a second old. */
const leastMs = 1_500;
const leastBytes = 16 * 1024 * 1024;

export interface Meeting {
  /** While memory moves with nothing in its way: bytes that have arrived so far. */
  look(bytesReceived: number): void;
  /** It has moved, or something else is in its way from now on. */
  end(): void;
}

export function createMeeting({
  clock,
  links,
  source,
  destination,
}: Pick<Run, "clock" | "links"> & { source: { name: string }; destination: { name: string } }): Meeting {
  let first: { atMs: number; bytes: number } | undefined;
  let last: { atMs: number; bytes: number } | undefined;
  return {
    look: (bytes) => {
      // The same count again may be an old one: from when it changed until when it changed last is what is measured.
      if (bytes === last?.bytes) return;
      last = { atMs: clock.now(), bytes };
      // Not from the first one on: what it counts has begun at some time before.
      if (bytes > 0) first ??= last;
    },
    end: () => {
      if (first === undefined || last === undefined) return;
      const ms = last.atMs - first.atMs;
      const bytes = last.bytes - first.bytes;
      if (ms < leastMs || bytes < leastBytes) return;
      links.noteMet(source.name, destination.name, (bytes / ms) * 1000);
    },
  };
}
