/** What the shipper and its page threads tell each other. */
import type { FrozenProcess } from "../../shared/contracts/dumper.ts";
import type { ErrorCode } from "../../shared/errors.ts";
import type { Connection } from "../../shared/link/connection.ts";
import type { Role } from "../../shared/link/preamble.ts";
import type { LogLevel } from "../../shared/log.ts";

/** Which connections a thread serves. */
export type PageRole = Exclude<Role, "files">;

export interface PageThreadOptions {
  role: PageRole;
  logLevel: LogLevel;
  /** Rung when there is a message. */
  bell: number;
}

export interface OpenedMemory {
  containerId: string;
  processes: readonly FrozenProcess[];
  /** The container runs. */
  provisional: boolean;
}

export type Order =
  /** With memory that both threads see: of PageCounters, and of the transfer's PageGate. */
  | { kind: "begin"; counters: SharedArrayBuffer; gate: SharedArrayBuffer; compresses: boolean }
  | ({ kind: "open" } & OpenedMemory)
  | { kind: "lose"; why: string }
  /** What a connection may carry, as the link was measured. */
  | { kind: "link"; bytesPerSecond: number }
  /** Frames for the destination that say which pages there are. */
  | { kind: "tell"; frames: readonly Uint8Array[] }
  | { kind: "end" };

export type ToThread =
  /** Its descriptor stays the main thread's to close. */
  | { kind: "connection"; id: number; migrationId: string; connection: Connection }
  /** Of one transfer; answered by number. */
  | { kind: "order"; id: number; migrationId: string; order: Order }
  /** End. To be ended from outside within a system call would end the whole process. */
  | { kind: "stop" };

export type FromThread =
  /** The connection is not used any more. */
  | { kind: "closed"; id: number; reason: string }
  | { kind: "done"; id: number }
  | { kind: "failed"; id: number; code: ErrorCode; message: string };
