/**
 * All restores of this node: one at a time per migration, each settled from the journal after a restart before anything
 * else is done with it.
 */
import { rm } from "node:fs/promises";
import type {
  CheckRestore,
  CreateRestore,
  Restore,
  RestoreCheck,
  RestoredContainer,
} from "../shared/contracts/restorer.ts";
import type { RestartPolicy } from "../shared/contracts/common.ts";
import { DmigrateError } from "../shared/errors.ts";
import { restoreSpecDir } from "../shared/node-paths.ts";
import { within } from "./adapters/engine.ts";
import { checkRestore } from "./check-restore.ts";
import { clearAway } from "./clear-away.ts";
import { toRestore, type RestoreRecord } from "./core/record.ts";
import { finishRestore } from "./finish-restore.ts";
import { prepareRestore } from "./prepare-restore.ts";
import { pullImage } from "./pull-image.ts";
import { recoverRestore } from "./recover.ts";
import { resumeRestore } from "./resume-restore.ts";
import { rollBack } from "./roll-back.ts";
import { newSession, type RestorerDeps, type Session } from "./session.ts";
import { settledContainer } from "./settled-container.ts";
import { rollBackUnknown } from "./without-journal.ts";

/** How many restores are remembered that need nothing more, or that nobody asks for. */
const keptEnded = 100;
const endedStates: ReadonlySet<string> = new Set<RestoreRecord["state"]>(["finished", "failed", "resumed"]);
/** How long a question about a restore may wait while it is settled after a restart. */
const recoveryPatienceMs = 10_000;

export interface Restorer {
  hasImage(imageId: string): Promise<boolean>;
  /** Pulls an image from a registry; throws unless it is the image of this id then. */
  pullImage(imageId: string, ref: string, signal: AbortSignal): Promise<void>;
  check(request: CheckRestore, imageLayers: readonly string[]): Promise<RestoreCheck>;
  create(request: CreateRestore): Promise<Restore>;
  get(migrationId: string): Promise<Restore>;
  /** Throws `conflict` before the resume. */
  container(migrationId: string): Promise<RestoredContainer>;
  /** Lets the container run no further. Throws `conflict` before the resume. */
  pause(migrationId: string): Promise<Restore>;
  resume(migrationId: string): Promise<Restore>;
  finish(migrationId: string, policy: RestartPolicy): Promise<Restore>;
  /** `containerId`: for a node that has been restarted, and does not know the migration any more. */
  rollBack(migrationId: string, containerId?: string): Promise<boolean>;
  stop(): Promise<void>;
}

export function createRestores(deps: RestorerDeps): Restorer {
  const sessions = new Map<string, Session>();
  const queues = new Map<string, Promise<unknown>>();
  const recovering = new Map<string, Promise<void>>();
  let stopping = false;

  /** One thing at a time per migration, in the order asked. */
  const inTurn = <T>(migrationId: string, work: () => Promise<T>): Promise<T> => {
    const turn = (queues.get(migrationId) ?? Promise.resolve()).then(work);
    const settled = turn
      .catch(() => undefined)
      .then(() => {
        if (queues.get(migrationId) === settled) queues.delete(migrationId);
      });
    queues.set(migrationId, settled);
    return turn;
  };

  const known = (migrationId: string): Session => {
    const session = sessions.get(migrationId);
    if (session !== undefined) return session;
    throw new DmigrateError("not-found", `there is no restore ${migrationId} on this node`);
  };

  const show = ({ record }: Session): Restore => {
    const restore = toRestore(record);
    if (restore !== undefined) return restore;
    throw new DmigrateError("not-found", `restore ${record.migrationId} is still being prepared`);
  };

  /** A restore that could not be settled before (Docker did not answer) is tried again when it is next needed. */
  const settle = async (session: Session): Promise<void> => {
    if (session.record.state === "resuming") await recoverRestore(deps, session);
  };

  const recoverAll = (): void => {
    const records = deps.journal.readAll((file, error) =>
      deps.log.error({ file, err: error }, "unreadable journal entry"),
    );
    for (const record of records) {
      const session = newSession(record);
      sessions.set(record.migrationId, session);
      const recovered = inTurn(record.migrationId, () => recoverRestore(deps, session)).then(
        () => deps.log.info({ migrationId: record.migrationId, state: session.record.state }, "restore taken over"),
        (error: unknown) => deps.log.error({ migrationId: record.migrationId, err: error }, "restore not settled"),
      );
      recovering.set(
        record.migrationId,
        recovered.finally(() => recovering.delete(record.migrationId)),
      );
    }
  };
  recoverAll();

  /** An ended restore is kept for repeated calls only; of one that failed, the planner may never have come to undo it. */
  const forgetOldest = (): void => {
    const ended = [...sessions.values()].filter(({ record }) => endedStates.has(record.state));
    for (const session of ended.slice(0, -keptEnded)) {
      const { migrationId } = session.record;
      void inTurn(migrationId, () => forget(session)).catch((error: unknown) =>
        deps.log.error({ migrationId, err: error }, "an old restore could not be forgotten"),
      );
    }
  };

  const forget = async (session: Session): Promise<void> => {
    const { migrationId, state, containerId, createdVolumes, filledBinds } = session.record;
    if (state === "failed") {
      // It was long ago: another container, which may run or not, may have its data there by now.
      await rollBack(deps, session, "nobody has asked for it any more", { keepData: true });
      if (createdVolumes.length + filledBinds.length > 0)
        deps.log.warn({ migrationId, createdVolumes, filledBinds }, "what an old restore made for its data is left");
    }
    // Its migration failed after the resume: as long as the container is there, it is the migration's.
    else if (state === "resumed" && containerId !== undefined) {
      if ((await deps.engine.container(containerId)) !== undefined) return;
      await rm(restoreSpecDir(deps.stateDir, containerId), { recursive: true, force: true });
    }
    deps.journal.remove(migrationId);
    sessions.delete(migrationId);
  };

  const prepare = async (request: CreateRestore): Promise<Restore> => {
    const present = sessions.get(request.migrationId);
    if (present !== undefined) return show(present);
    forgetOldest();
    const { container, migrationId } = request;
    const autoRemove = container.hostConfig["AutoRemove"] === true;
    const session = newSession({
      migrationId,
      name: container.name,
      state: "preparing",
      createdVolumes: [],
      filledBinds: [],
      autoRemove,
    });
    sessions.set(migrationId, session);
    deps.journal.write(session.record);
    try {
      await prepareRestore(deps, session, request);
    } catch (error) {
      await rollBack(deps, session, "it could not be prepared");
      sessions.delete(migrationId);
      throw error;
    }
    return show(session);
  };

  const resumed = async (migrationId: string): Promise<{ containerId: string; resumedAt: number }> => {
    const { record, started } = known(migrationId);
    const { state, containerId, resumedAt } = record;
    if ((state !== "resumed" && state !== "finished") || containerId === undefined || resumedAt === undefined)
      throw new DmigrateError("conflict", `restore ${migrationId} is ${state}: its container has not been resumed`);
    // Until then Docker keeps whoever asks for the container waiting.
    if (started !== undefined)
      await within(deps.limits.resumeMs, started, "docker start of the restored container did not end");
    return { containerId, resumedAt };
  };

  return {
    hasImage: async (imageId) => (await deps.engine.imageId(imageId)) !== undefined,
    pullImage: (imageId, ref, signal) => pullImage(deps.engine, imageId, ref, signal),
    check: (request, imageLayers) => checkRestore(deps.engine, request, imageLayers),
    create: (request) => {
      if (stopping) throw new DmigrateError("unavailable", "the restorer is stopping");
      return inTurn(request.migrationId, () => prepare(request));
    },
    async get(migrationId) {
      const session = known(migrationId);
      // After a restart the journal is not the truth yet; but an answer must come.
      await within(recoveryPatienceMs, recovering.get(migrationId) ?? Promise.resolve(), "").catch(() => undefined);
      return show(session);
    },
    async pause(migrationId) {
      const { containerId } = await resumed(migrationId);
      await deps.engine.pauseContainer(containerId);
      return show(known(migrationId));
    },
    async container(migrationId) {
      const { containerId, resumedAt } = await resumed(migrationId);
      return settledContainer(deps.engine, containerId, resumedAt);
    },
    resume: (migrationId) =>
      inTurn(migrationId, async () => {
        const session = known(migrationId);
        await settle(session);
        if (session.record.state !== "resumed" && session.record.state !== "finished")
          await resumeRestore(deps, session);
        return show(session);
      }),
    finish: (migrationId, policy) =>
      inTurn(migrationId, async () => {
        const session = known(migrationId);
        await settle(session);
        await finishRestore(deps, session, policy);
        forgetOldest();
        return show(session);
      }),
    rollBack: (migrationId, containerId) => {
      // Ends a preparation under way; the roll back then has its turn.
      sessions.get(migrationId)?.cancelled.abort();
      return inTurn(migrationId, async () => {
        const session = sessions.get(migrationId);
        if (session === undefined)
          return containerId !== undefined && (await rollBackUnknown(deps, migrationId, containerId));
        await settle(session);
        const { state } = session.record;
        if (state === "resumed" || state === "finished")
          throw new DmigrateError(
            "conflict",
            `restore ${migrationId} is ${state}: the container runs here and nowhere else`,
          );
        await rollBack(deps, session, "the migration was rolled back");
        sessions.delete(migrationId);
        return true;
      });
    },
    async stop() {
      stopping = true;
      for (const [migrationId, session] of sessions) {
        if (session.record.state === "preparing") session.cancelled.abort();
        // What waits cannot wait without us: its wrapper gives up with our FIFOs, so end it in order.
        if (session.record.state === "waiting")
          await inTurn(migrationId, () => clearAway(deps, session, "the restorer was stopped")).catch(
            (error: unknown) => deps.log.error({ migrationId, err: error }, "a waiting container was not cleared away"),
          );
      }
      await Promise.all(queues.values());
    },
  };
}
