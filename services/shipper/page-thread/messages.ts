/** What the shipper and its page threads tell each other. */
import type { FrozenProcess } from "../../shared/contracts/dumper.ts";
import type { LinkSecurity } from "../../shared/contracts/shipper.ts";
import type { ErrorCode } from "../../shared/errors.ts";
import type { Preamble } from "../../shared/link/preamble.ts";
import type { HandedSocket } from "../../shared/adapters/socket-handover.ts";
import type { LogLevel } from "../../shared/log.ts";

/** Which connections a thread serves. */
export type PageRole = "pages" | "faults";
export const pageRoles = ["pages", "faults"] as const;

export interface PageThreadOptions {
  role: PageRole;
  logLevel: LogLevel;
}

export interface OpenedMemory {
  containerId: string;
  processes: readonly FrozenProcess[];
  /** The container runs. */
  provisional: boolean;
}

export type Order =
  | { kind: "begin"; secret: string; security: LinkSecurity; counters: SharedArrayBuffer }
  | ({ kind: "open" } & OpenedMemory)
  | { kind: "lose"; why: string }
  | { kind: "announce"; processes: readonly FrozenProcess[] }
  | { kind: "end" };

export type ToThread =
  | { kind: "connection"; id: number; socket: HandedSocket; preamble: Preamble }
  /** Of one transfer; answered by number. */
  | { kind: "order"; id: number; migrationId: string; order: Order }
  /** End. To be ended from outside within a system call would end the whole process. */
  | { kind: "stop" };

export type FromThread =
  /** The connection's descriptor is the thread's from now on. */
  | { kind: "taken"; id: number }
  | { kind: "done"; id: number; pages: number }
  | { kind: "failed"; id: number; code: ErrorCode; message: string };
