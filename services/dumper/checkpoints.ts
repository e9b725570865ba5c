/**
 * All checkpoints of this node: one after the other for each, each container in one at most, and those that a dumper
 * before this one has left are settled at start. None freezes a container for ever: one that is not sealed in time is
 * aborted, and one whose abort came first is not made.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type Docker from "dockerode";
import { createRcuSwitch } from "../shared/adapters/rcu.ts";
import { openFreezer } from "../shared/adapters/cgroup.ts";
import type { AbortCheckpoint, Checkpoint, CreateCheckpoint, Freeze } from "../shared/contracts/dumper.ts";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import type { Log } from "../shared/log.ts";
import { migrationPaths } from "../shared/node-paths.ts";
import { abortCheckpoint, putBack, type AbortOptions } from "./abort-checkpoint.ts";
import { createEngine, type Engine } from "./adapters/engine.ts";
import { openRecordFiles } from "./adapters/record-file.ts";
import { removeDump } from "./adapters/dump-files.ts";
import { shown, type CheckpointDeps, type HeldCheckpoint } from "./checkpoint.ts";
import { commitCheckpoint } from "./commit-checkpoint.ts";
import { isEnded, isUnsealed, WrongState } from "./core/checkpoint-record.ts";
import { createTombstones } from "./core/tombstones.ts";
import { dumpContainer, sealCheckpoint } from "./dump-container.ts";
import { freezeContainer, holdContainer, readyContainer } from "./freeze-container.ts";

export interface Checkpoints {
  /** Makes ready for the freeze; the container runs on. */
  create(request: CreateCheckpoint): Promise<Checkpoint>;
  freeze(migrationId: string, options: Freeze): Promise<Checkpoint>;
  get(migrationId: string): Promise<Checkpoint>;
  dump(migrationId: string): Promise<Checkpoint>;
  seal(migrationId: string): Promise<Checkpoint>;
  commit(migrationId: string, options: { removeContainer: boolean }): Promise<Checkpoint>;
  abort(migrationId: string, options?: AbortCheckpoint): Promise<Checkpoint>;
  /** Lets every container run on whose checkpoint is not sealed. */
  stop(): Promise<void>;
}

/** A retried commit or abort finds the answer of the first for this long. */
const keepEndedMs = 24 * 60 * 60 * 1000;
const retryRecoveryMs = 5000;
/** How long a checkpoint stays ready, and its container frozen, without a seal; more than the ten minutes that a dump may take. */
const sealWithinMs = 15 * 60 * 1000;

interface Entry {
  held: Promise<HeldCheckpoint>;
  containerId: string;
  /** The end of the operation under way: each waits for the one before. */
  turn: Promise<unknown>;
  /** Until it is sealed or has ended. */
  deadline?: NodeJS.Timeout;
  /** The dump that follows the freeze unasked, up to the seal. */
  dumping?: Promise<Checkpoint>;
}

export function openCheckpoints({
  docker,
  stateDir,
  log,
}: {
  docker: Docker;
  stateDir: string;
  log: Log;
}): Checkpoints {
  const engine: Engine = createEngine(docker);
  const deps: CheckpointDeps = { engine, records: openRecordFiles(stateDir, log), rcu: createRcuSwitch(), log };
  const entries = new Map<string, Entry>();
  const tombstones = createTombstones();
  const stopping = new AbortController();

  const recovering = recover();

  const find = (id: string): Entry => {
    const entry = entries.get(id);
    if (entry === undefined)
      throw new DmigrateError("not-found", `there is no checkpoint of migration ${id} on this node`);
    return entry;
  };

  const inTurn = async (id: string, work: (held: HeldCheckpoint) => Promise<void>): Promise<Checkpoint> => {
    await recovering;
    const entry = find(id);
    const turn = entry.turn.then(async () => {
      const held = await entry.held;
      try {
        await work(held);
      } finally {
        if (!isUnsealed(held.record.state)) clearTimeout(entry.deadline);
      }
      return shown(held);
    });
    entry.turn = turn.catch(() => undefined);
    return turn;
  };

  const create = async (request: CreateCheckpoint): Promise<Checkpoint> => {
    await recovering;
    const { migrationId, containerId } = request;
    const known = entries.get(migrationId);
    if (known !== undefined) {
      const held = await known.held;
      if (known.containerId === containerId && !isEnded(held.record.state))
        return inTurn(migrationId, () => Promise.resolve());
      throw new DmigrateError(
        "conflict",
        `migration ${migrationId} has a checkpoint already; a new migration needs a new id`,
      );
    }
    await forgetOld();
    for (const [other, entry] of entries) {
      if (entry.containerId !== containerId) continue;
      const held = await entry.held.catch(() => undefined);
      if (held !== undefined && !isEnded(held.record.state))
        throw new DmigrateError(
          "conflict",
          `container ${containerId.slice(0, 12)} is being moved by migration ${other}`,
        );
    }
    if (entries.has(migrationId)) return create(request);
    // Last, since an abort may have come while this one was looking around.
    if (tombstones.has(migrationId))
      throw new DmigrateError(
        "conflict",
        `migration ${migrationId} was aborted before; a new migration needs a new id`,
      );
    const held = holdContainer(deps, request, migrationPaths(stateDir, migrationId));
    const entry: Entry = { held, containerId, turn: held.catch(() => undefined) };
    entries.set(migrationId, entry);
    held.catch(() => entries.delete(migrationId));
    return inTurn(migrationId, async (it) => {
      await orAbort(it, readyContainer(deps, it));
      entry.deadline = setTimeout(() => void abortUnsealed(it), sealWithinMs).unref();
    });
  };

  const freeze = async (migrationId: string, { thenDump }: Freeze): Promise<Checkpoint> => {
    await recovering;
    const entry = find(migrationId);
    const frozen = inTurn(migrationId, (it) => orAbort(it, freezeContainer(deps, it)));
    if (thenDump && entry.dumping === undefined) {
      // Its turn is the next, ahead of whatever is asked for meanwhile. After a freeze that failed it changes nothing.
      entry.dumping = inTurn(migrationId, async (it) => {
        await orAbort(it, dumpContainer(deps, it));
        await orAbort(it, sealCheckpoint(deps, it));
      });
      entry.dumping.catch(() => undefined); // met by whoever asks for the dump
    }
    return frozen;
  };

  /** Whoever asked for it is gone, as a rule. Safe, since nothing is resumed at a destination without the seal. */
  const abortUnsealed = async (held: HeldCheckpoint): Promise<void> => {
    const { migrationId } = held.record;
    try {
      await endDump(held).catch(() => undefined); // the dump's own turn aborts it then
      await inTurn(migrationId, async () => {
        if (!isUnsealed(held.record.state)) return;
        log.error({ migrationId, minutes: sealWithinMs / 60_000 }, "not sealed in time; the container runs on here");
        await abort(held);
      });
    } catch (error) {
      log.error({ migrationId, reason: messageOf(error) }, "a checkpoint that was not sealed in time is left as it is");
    }
  };

  const forgetOld = async (): Promise<void> => {
    for (const [id, { held }] of entries) {
      const settled = await held.catch(() => undefined);
      if (settled?.record.endedAt === undefined || Date.now() - settled.record.endedAt < keepEndedMs) continue;
      removeDump(settled.paths);
      deps.records.remove(id);
      entries.delete(id);
    }
  };

  async function recover(): Promise<void> {
    for (const record of deps.records.readAll()) {
      const { version, dir } = record.freezer;
      const name = record.containerId.slice(0, 12);
      const held = {
        record,
        name,
        freezer: openFreezer(version, dir),
        paths: migrationPaths(stateDir, record.migrationId),
      };
      // A predecessor that was killed in a dump or a commit has not put it back.
      if (["dumping", "sealed"].includes(record.state) && record.rcuBefore !== undefined)
        deps.rcu.off(record.rcuBefore);
      entries.set(record.migrationId, {
        held: Promise.resolve(held),
        containerId: record.containerId,
        turn: Promise.resolve(),
      });
      if (record.state === "sealed") {
        log.warn(
          { migrationId: record.migrationId },
          "holding a sealed checkpoint of an earlier run; commit or abort it",
        );
      } else if (!isEnded(record.state)) {
        log.warn({ migrationId: record.migrationId }, "undoing a checkpoint of an earlier run");
        await abort(held);
      }
    }
  }

  /** A step that fails leaves the container running; one that is asked for at the wrong time changes nothing. */
  async function orAbort(held: HeldCheckpoint, step: Promise<void>): Promise<void> {
    try {
      await step;
    } catch (error) {
      if (!(error instanceof WrongState)) await abort(held, { failed: true });
      throw error;
    }
  }

  /** The thaw comes first and needs no Docker; the restart policy is tried again until Docker takes it. */
  async function abort(held: HeldCheckpoint, options?: AbortOptions): Promise<void> {
    try {
      await abortCheckpoint(deps, held, options);
    } catch (error) {
      log.error({ migrationId: held.record.migrationId, reason: messageOf(error) }, "undoing it failed; trying again");
      void sleep(retryRecoveryMs, undefined, { ref: false, signal: stopping.signal }).then(
        () => abort(held, options),
        () => undefined, // stopped
      );
    }
  }

  /** A dump under way that nobody wants any more: its turn ends soon. */
  const endDump = async ({ record, prepared }: HeldCheckpoint): Promise<void> => {
    if (record.state === "dumping") await prepared?.criu.end();
  };

  return {
    create,
    freeze,
    get: async (id) => {
      await recovering;
      return shown(await find(id).held);
    },
    dump: async (id) => {
      await recovering;
      return find(id).dumping ?? inTurn(id, (held) => orAbort(held, dumpContainer(deps, held)));
    },
    seal: (id) => inTurn(id, (held) => orAbort(held, sealCheckpoint(deps, held))),
    commit: (id, options) => inTurn(id, (held) => commitCheckpoint(deps, held, options)),
    abort: async (id, { before } = {}) => {
      await recovering;
      if (!entries.has(id)) {
        tombstones.add(id, Date.now());
        if (before !== undefined) await putBack(deps, id, before);
      }
      await endDump(await find(id).held);
      return inTurn(id, (held) => abortCheckpoint(deps, held));
    },
    stop: async () => {
      stopping.abort();
      await recovering;
      for (const [migrationId, entry] of entries) {
        const held = await entry.held.catch(() => undefined);
        if (held === undefined || isEnded(held.record.state)) continue;
        if (held.record.state === "sealed") held.guardian?.release();
        else {
          await endDump(held);
          await entry.turn;
          // A seal that came just now was told to nobody: no requests are answered any more.
          if (!isEnded(held.record.state)) await abortCheckpoint(deps, held);
          log.warn({ migrationId }, "stopping: the container runs on here");
        }
      }
    },
  };
}
