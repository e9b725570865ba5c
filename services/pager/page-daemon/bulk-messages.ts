/** What the daemon and its bulk thread tell each other. Messages of one turn travel together, in arrays. */
import type { MemoryMap } from "../../shared/core/frames/memory-map.ts";
import type { PageSpan } from "../../shared/core/frames/page-message.ts";
import type { ErrorCode } from "../../shared/errors.ts";
import type { Connection } from "../../shared/link/connection.ts";
import type { PageRange } from "../../shared/core/criu/process-images.ts";
import type { Filled, Placement } from "../core/placement.ts";
import type { PageRequest } from "./page-lane.ts";

/** Pages of one process that are asked for together. */
export interface BulkRequest extends Omit<PageRequest, "page" | "pages" | "priority"> {
  priority: 2 | 3;
  ranges: readonly PageRange[];
}

export interface BulkOptions {
  /** What both threads see (board). */
  shared: SharedArrayBuffer;
  /** Rung when there is a message. */
  bell: number;
}

/** How filling in ended: `stale`, something has changed since it was placed; `hindered`, the hearing thread must see to it. */
export type FillOutcome = "whole" | "stale" | "hindered";

/** Contents of pages, in memory that both threads see; none when all are zero. */
export interface SharedPages {
  spans: readonly PageSpan[];
  memory: SharedArrayBuffer | undefined;
}

/** An answer of the source that the hearing thread must see to: only what is filled in here in the plain way is not. */
export interface Answered {
  id: number;
  /** What was asked: part of a range of the request. */
  asked: PageRange;
  /** How many of these pages it is about. */
  pages: number;
  provisional: boolean;
  filled: readonly Filled[];
  /** What was not filled in, or not wholly: its memory is the receiver's now. */
  rest: SharedPages | undefined;
}

export type ToBulk =
  /** To use from now on; its descriptor stays the sender's to close, once it is told to be lost. */
  | { kind: "connection"; connection: Connection; patienceMs: number }
  /** Ask the source; with a placement, fill in what comes. */
  | { kind: "ask"; id: number; request: BulkRequest; placement: Placement | undefined }
  /** Fill in pages from `image` on. The memory stays the sender's. */
  | ({ kind: "fill"; id: number; image: number; placement: Placement } & SharedPages)
  /** Memory to be used again. */
  | { kind: "free"; memory: SharedArrayBuffer }
  /** Let go of the connection, and of all that was asked: `disconnected` is the last that is heard of it. */
  | { kind: "disconnect" }
  /** End. To be ended from outside within a system call would end the whole process. */
  | { kind: "end" };

export type FromBulk =
  | ({ kind: "answered" } & Answered)
  /** The source could not answer this part of a speculative request. */
  | { kind: "refused"; id: number; asked: PageRange }
  /** Every part was answered; what of it was filled in without a word. */
  | { kind: "over"; id: number; filled: readonly Filled[] }
  | { kind: "filled"; id: number; filled: readonly Filled[]; outcome: FillOutcome }
  | { kind: "map"; map: MemoryMap }
  /** The connection is not used any more. */
  | { kind: "lost"; reason: string }
  | { kind: "disconnected" }
  | { kind: "failure"; code: ErrorCode; message: string };

/** What both threads see: the fill lock's words first; then bytes received, and of the last while, how much of it the thread waited for a processor, in thousandths. */
export const board = { bytes: 32, receivedAt: 16, waitedAt: 24 } as const;
