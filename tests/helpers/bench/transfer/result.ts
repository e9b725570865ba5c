/** The transfer benchmark's samples as ratios. Pure. */
import type { Machine } from "../machine.ts";
import { known, ratio } from "../ratios.ts";
import type { Samples } from "./parts.ts";

/** Samples by the part's name. */
export type TransferSamples = Record<string, Samples>;

/** What `--save` keeps. */
export interface TransferReport {
  /** By the part's name: what measured it. */
  machines: Record<string, Machine>;
  /** Of all sizes; 1 is what the table says. */
  scale: number;
  samples: TransferSamples;
}

/** Their time over ours, so that more than 1 is faster; a number that has nothing to be made of is left out. */
export function transferRatios(samples: Readonly<TransferSamples>): Record<string, number> {
  const of = (part: string, name: string): readonly number[] => samples[part]?.[name] ?? [];
  const over = (part: string, theirs: string, ours = "dmigrate"): number | undefined =>
    ratio(of(part, theirs), of(part, ours));
  const best = [over("bulk", "tar"), over("bulk", "rsync")].flatMap((each) => each ?? []);
  return known({
    bulkVsBest: best.length === 2 ? Math.min(...best) : undefined,
    smallFilesVsRsync: over("small", "rsync"),
    slowLinkVsTar: over("slow", "tar"),
    urgentP99VsIdle: over("urgent", "busy", "idle"),
    deltaMs: ratio(of("delta", "delta"), [1]),
    tlsVsPlain: over("bulk", "plain"),
  });
}
