/** A restore as this process holds it: its journal record, and what cannot be written down (FIFOs, Docker's open call). */
import { DmigrateError } from "../shared/errors.ts";
import type { Log } from "../shared/log.ts";
import type { Engine } from "./adapters/engine.ts";
import type { Gate } from "./adapters/gate.ts";
import type { Journal } from "./adapters/journal.ts";
import type { RcuSwitch } from "../shared/adapters/rcu.ts";
import { transition, type RecordEvent, type RestoreRecord } from "./core/record.ts";

/** How long each wait may take, milliseconds. */
export interface RestorerLimits {
  /** From `docker start` until the wrapper waits. */
  warmStartMs: number;
  /** From the release of the wrapper until Docker says that the container runs. */
  resumeMs: number;
  /** Until everything of a failed restore is killed and removed. */
  cleanUpMs: number;
}

export interface RestorerDeps {
  engine: Engine;
  journal: Journal;
  rcu: RcuSwitch;
  stateDir: string;
  log: Log;
  limits: RestorerLimits;
}

export interface Session {
  record: RestoreRecord;
  /** Aborted when a roll back is asked for while the restore is being prepared. */
  readonly cancelled: AbortController;
  /** FIFOs to the wrapper; absent before it is prepared, and after a restart of this service. */
  gate?: Gate;
  /** The network is attached already, and runc has its namespace for CRIU. */
  networkReady?: boolean;
  /** Docker's start call, as a value so that a failure nobody waits for is not unhandled. */
  started?: Promise<StartOutcome>;
}

export type StartOutcome = { ok: true } | { ok: false; error: DmigrateError };

export function newSession(record: RestoreRecord): Session {
  return { record, cancelled: new AbortController() };
}

/** Changes the record and writes it down. */
export function note(deps: Pick<RestorerDeps, "journal">, session: Session, changes: Partial<RestoreRecord>): void {
  session.record = { ...session.record, ...changes };
  deps.journal.write(session.record);
}

/** Moves the record on. Throws `conflict` when `event` cannot happen in its state. */
export function advance(
  deps: Pick<RestorerDeps, "journal">,
  session: Session,
  event: RecordEvent,
  changes: Partial<RestoreRecord> = {},
): void {
  const { state, migrationId, error } = session.record;
  const next = transition(state, event);
  if (next === undefined) {
    const because = error === undefined ? "" : `: ${error}`;
    throw new DmigrateError("conflict", `restore ${migrationId} is ${state}${because}`);
  }
  note(deps, session, { ...changes, state: next });
}
