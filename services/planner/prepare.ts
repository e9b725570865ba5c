/**
 * Everything that can be done while the container still runs at the source: the data connection, the image, the
 * container at the destination waiting for its processes, a first pass over the files, and the pager; side by side
 * wherever one does not need the other.
 *
 *     transfer ── receive ── probe ─┬─ pager ───────────────────┬─ pre-copy ── last look, checkpoint ready
 *                                   ├─ checkpoint ready ────────┤
 *                                   ├─ image ── restore ────────┤
 *                       target ─────┴─ first pass ──────────────┘
 *
 * The probe measures the link, unless its speed is known or makes no difference, and the rest goes by the plan that follows
 * from it. The restore of a large container waits for it, since Docker's work would be measured too, and for an image that is
 * missing at the destination. The files wait for Docker to mount the container's, which comes long before all is ready there,
 * but not for an image: what comes before it is kept (shipper/held-job.ts). Memory that is sent ahead comes last, but for the
 * files that have changed by then, so that little of it changes before the freeze. The checkpoint is made ready last, too,
 * unless the rest takes no time: what is looked at for it may change.
 */
import { randomBytes } from "node:crypto";
import type { Endpoint } from "../shared/contracts/common.ts";
import { checkpointSchema } from "../shared/contracts/dumper.ts";
import { pagerSchema } from "../shared/contracts/pager.ts";
import type { Plan } from "../shared/contracts/planner.ts";
import { restoreSchema, type Restore } from "../shared/contracts/restorer.ts";
import { receiveSchema, shippedSchema, transferSchema } from "../shared/contracts/shipper.ts";
import { DmigrateError } from "../shared/errors.ts";
import { bringImage } from "./bring-image.ts";
import { logBytes } from "./core/plan.ts";
import type { Inspection } from "./inspect.ts";
import { precopy } from "./precopy.ts";
import { isProbeFirst, probe } from "./probe.ts";
import { anything, throwIfCancelled, create, together, type Run } from "./run.ts";
import { shipLog } from "./ship-log.ts";
import { moveTimeoutMs } from "./timing.ts";

/** What is copied within the time that it takes to make a checkpoint ready, or not much more. */
const littleBytes = 32 << 20;

/** Throws at the first failure, or `cancelled`, once nothing that was asked for is under way; the caller rolls back. */
export async function prepare(run: Run, inspection: Inspection): Promise<void> {
  const { id, journal, source, destination, timing, links, linkSecurity: security } = run;
  const { profile, plan, layersPresent } = inspection;
  const call = { timeoutMs: timing.callMs };
  const failed = new AbortController();
  const signal = AbortSignal.any([run.cancelled, failed.signal]);
  /** Between two calls: is the second one still wanted? */
  const goOn = (): void => {
    failed.signal.throwIfAborted();
    throwIfCancelled(run);
  };
  const volumes = profile.spec.volumes.map(({ name }) => name);
  const { moveBinds } = plan;
  // Only the two nodes ever know it; a migration that has lost it is rolled back, never continued.
  const secret = randomBytes(32).toString("hex");
  // What is old, or not what the last migration met, is measured anew.
  const isKnown = !links.isProbeDue(source.name, destination.name);
  const linkBytesPerSecond = isKnown ? links.find(source.name, destination.name)?.bytesPerSecond : undefined;

  const link = async (): Promise<Endpoint> => {
    const { dataPort } = await create(run, "transfer", () =>
      source.shipper.post(
        "/transfers",
        {
          migrationId: id,
          secret,
          containerId: profile.id,
          volumes,
          binds: moveBinds,
          readers: plan.readers,
          compression: plan.compression,
          chunkBytes: plan.chunkBytes,
          ...(linkBytesPerSecond !== undefined && { linkBytesPerSecond }),
          security,
        },
        transferSchema,
        call,
      ),
    );
    goOn();
    return { host: source.dataHost, port: dataPort };
  };
  const receive = async (from: Endpoint): Promise<void> => {
    await create(run, "receive", () =>
      destination.shipper.post(
        "/receives",
        { migrationId: id, secret, source: from, streams: plan.streams, security },
        receiveSchema,
        call,
      ),
    );
    goOn();
  };
  const pager = async (from: Endpoint, { readers, windowBytes, earlyBytes, chunkBytes }: Plan): Promise<void> => {
    const whole = plan.mode === "stop-and-copy";
    await create(run, "pager", () =>
      destination.pager.post(
        "/pagers",
        { migrationId: id, secret, source: from, readers, windowBytes, earlyBytes, chunkBytes, whole },
        pagerSchema,
        call,
      ),
    );
  };
  const image = async (): Promise<void> => {
    const { imageId, imageRef } = profile.spec;
    const { pull } = plan;
    const timeoutMs = moveTimeoutMs(timing, profile.imageBytes);
    const send = async (wanted: AbortSignal): Promise<void> => {
      const body = { imageId, imageRef, layersPresent };
      await reporting(run, `sending the image ${imageRef}`, () =>
        source.shipper.post(`/transfers/${id}/image`, body, shippedSchema, { timeoutMs, signal: wanted }),
      );
    };
    await bringImage(run, { imageId, pull, send, timeoutMs }, signal);
    goOn();
  };
  const restore = async (): Promise<void> => {
    const { replaces } = journal.job;
    const { containerId } = await create(run, "restore", () =>
      destination.restorer.post(
        "/restores",
        {
          migrationId: id,
          container: profile.spec,
          moveBinds,
          ...(plan.log !== undefined && { log: plan.log }),
          ...(replaces !== undefined && { replaces }),
        },
        restoreSchema,
        { timeoutMs: timing.createMs },
      ),
    );
    journal.update({ destinationContainerId: containerId });
    goOn();
  };
  /** Where files go. Resolves once they are mounted, long before the restore is ready, or at once where some may come before. */
  const target = async ({ aheadBytes }: Plan): Promise<void> => {
    const body = { volumes, binds: moveBinds, aheadBytes };
    await destination.shipper.put(`/receives/${id}/target`, body, anything, { timeoutMs: timing.createMs, signal });
    goOn();
  };
  const ready = (): Promise<unknown> =>
    create(run, "checkpoint", () =>
      source.dumper.post("/checkpoints", { migrationId: id, containerId: profile.id }, checkpointSchema, {
        timeoutMs: timing.freezeMs,
      }),
    );
  const firstPass = async (): Promise<void> => {
    const { writableLayerBytes, volumeBytes, memoryBytes, imageBytes } = profile;
    const bytes = writableLayerBytes + volumeBytes + memoryBytes + (plan.shipImage ? imageBytes : 0);
    await reporting(run, "copying files while the container runs", () =>
      source.shipper.post(`/transfers/${id}/first-pass`, undefined, shippedSchema, {
        // It ends when the container's files are mounted there, at the earliest.
        timeoutMs: moveTimeoutMs(timing, bytes) + timing.createMs,
        signal,
      }),
    );
    if (plan.log === undefined) return;
    goOn();
    await reporting(run, "copying the log", () =>
      source.shipper.post(`/transfers/${id}/log`, undefined, shippedSchema, {
        timeoutMs: moveTimeoutMs(timing, logBytes(profile)),
        signal,
      }),
    );
  };

  /** So that what changed meanwhile is not left for the downtime. */
  const nextPass = async (): Promise<void> => {
    await reporting(run, "copying files that have changed since", () =>
      source.shipper.post(`/transfers/${id}/next-pass`, undefined, shippedSchema, {
        timeoutMs: moveTimeoutMs(timing, profile.writableLayerBytes + profile.volumeBytes),
        signal,
      }),
    );
  };

  const linked = link();
  const received = linked.then(receive);
  const probed = received.then(() => probe(run, inspection, signal));
  const measured = isProbeFirst(run, plan) ? probed : Promise.resolve();
  const imaged = plan.shipImage ? probed.then(image) : measured;
  const restored = imaged.then(restore);
  const targeted = probed.then(async (newPlan) => {
    if (newPlan.aheadBytes === 0) await imaged;
    await target(newPlan);
  });
  const filesCopied = targeted.then(firstPass);
  const copiesLittle = profile.writableLayerBytes + profile.volumeBytes + logBytes(profile) <= littleBytes;
  const readied = probed.then(async ({ precopy: isLong }) => {
    if (copiesLittle && !isLong && !plan.shipImage) await ready();
  });
  const paged = Promise.all([linked, probed]).then(([from, newPlan]) => pager(from, newPlan));
  const waitsSince = restored.then(() => run.clock.now());
  const lastSteps = async (): Promise<void> => {
    const [{ precopy: isSentAhead }] = await Promise.all([probed, filesCopied, paged, readied]);
    const isLimited = plan.log?.limited === true;
    // These come last.
    if (isSentAhead || isLimited) await restored;
    goOn();
    if (isSentAhead) {
      await precopy(run, profile);
      goOn();
      await nextPass();
    }
    // So that little of it is left for the downtime.
    if (isLimited) await shipLog(run);
    goOn();
    const isReady = run.attempted.has("checkpoint");
    await together([lastLook(run, waitsSince), isReady ? Promise.resolve() : ready()], failed);
  };
  // Each by itself as well: none may be under way any more when this one fails.
  await together(
    [probed, linked, received, restored, targeted, filesCopied, paged, readied, waitsSince, lastSteps()],
    failed,
  );
  throwIfCancelled(run);
}

/**
 * Before the freeze: is everything still there? It also leaves a connection open to each service (four to the source's
 * shipper, which is asked as many things at once later), so that none is made inside the downtime. A restore that has said
 * just now that it waits, as a rule the last of all, is not asked again.
 */
async function lastLook(run: Run, waitsSince: Promise<number>): Promise<void> {
  const { id, source, destination, timing, clock } = run;
  const call = { timeoutMs: timing.callMs };
  const lookAtRestore = async (): Promise<Restore | undefined> => {
    const since = await waitsSince;
    if (clock.now() - since < timing.momentMs) return undefined;
    return destination.restorer.get(`/restores/${id}`, restoreSchema, call);
  };
  const [restore, pager, receive] = await Promise.all([
    lookAtRestore(),
    destination.pager.get(`/pagers/${id}`, pagerSchema, call),
    destination.shipper.get(`/receives/${id}`, receiveSchema, call),
    ...[1, 2, 3, 4].map(() => source.shipper.get(`/transfers/${id}`, transferSchema, call)),
  ] as const);
  const lost = (what: string, why: string): DmigrateError =>
    new DmigrateError("upstream", `${what} on node ${destination.name} ${why}`);
  if (restore !== undefined && restore.state !== "waiting")
    throw lost("the prepared container", `is ${restore.state}: ${restore.error ?? "no reason given"}`);
  if (pager.state !== "ready") throw lost("the pager", `is ${pager.state}: ${pager.error ?? "no reason given"}`);
  if (!receive.connected) throw lost("the shipper", `has lost its connection to node ${source.name}`);
}

/** Reports the bytes sent so far while `work` runs; a report that fails is left out. */
async function reporting<T>(run: Run, message: string, work: () => Promise<T>): Promise<T> {
  const { id, journal, source, timing } = run;
  let asking = false;
  const report = async (): Promise<void> => {
    if (asking || run.stopped.aborted) return;
    asking = true;
    try {
      const { bytesSent } = await source.shipper.get(`/transfers/${id}`, transferSchema, { timeoutMs: timing.callMs });
      if (timer.hasRef()) journal.progress(message, { bytesSent });
    } catch {
      // The work itself meets the same failure, and says so.
    } finally {
      asking = false;
    }
  };
  const timer = setInterval(() => void report(), timing.progressMs);
  try {
    return await work();
  } finally {
    timer.unref();
    clearInterval(timer);
  }
}
