/** A checkpoint in the dumper's hands, and what the use cases around it share. */
import type { Freezer } from "../shared/adapters/cgroup.ts";
import type { RcuSwitch } from "../shared/adapters/rcu.ts";
import type { Checkpoint } from "../shared/contracts/dumper.ts";
import type { Log } from "../shared/log.ts";
import type { MigrationPaths } from "../shared/node-paths.ts";
import type { Engine } from "./adapters/engine.ts";
import type { Guardian } from "./adapters/guardian.ts";
import type { RecordFiles } from "./adapters/record-file.ts";
import { toCheckpoint, type CheckpointRecord } from "./core/checkpoint-record.ts";
import type { PreparedDump } from "./prepare-dump.ts";

export interface CheckpointDeps {
  engine: Engine;
  records: RecordFiles;
  rcu: RcuSwitch;
  log: Log;
}

export interface HeldCheckpoint {
  record: CheckpointRecord;
  /** The container's name, for messages. */
  readonly name: string;
  readonly freezer: Freezer;
  readonly paths: MigrationPaths;
  /** Absent for a checkpoint that a dumper before this one has made. */
  guardian?: Guardian;
  prepared?: PreparedDump;
}

/** Changes the record, in memory and on disk. */
export function note(deps: CheckpointDeps, held: HeldCheckpoint, change: Partial<CheckpointRecord>): void {
  held.record = { ...held.record, ...change };
  deps.records.write(held.record);
}

export const shown = ({ record, paths }: HeldCheckpoint): Checkpoint =>
  toCheckpoint(record, paths.imagesDir, Date.now());
