/**
 * Everything that can be done while the container still runs at the source: the data connection, the image, the
 * container at the destination waiting for its processes, a first pass over the files, and the pager; side by side
 * wherever one does not need the other.
 *
 *     transfer ─┬─ receive ─┬─ target, first pass ─┬─ last look
 *               └─ pager ───┼──────────────────────┤
 *     restore ──────────────┴──────────────────────┘
 *
 * An image that is missing at the destination goes between receive and restore. Memory that is sent ahead comes last, so
 * that little of it changes before the freeze.
 */
import { randomBytes } from "node:crypto";
import type { Endpoint } from "../shared/contracts/common.ts";
import type { ContainerProfile } from "../shared/contracts/container.ts";
import { pagerSchema } from "../shared/contracts/pager.ts";
import type { Plan } from "../shared/contracts/planner.ts";
import { restoreSchema } from "../shared/contracts/restorer.ts";
import { precopySchema, receiveSchema, shippedSchema, transferSchema } from "../shared/contracts/shipper.ts";
import { DmigrateError } from "../shared/errors.ts";
import { bringImage } from "./bring-image.ts";
import { logBytes } from "./core/plan.ts";
import { shipLog } from "./ship-log.ts";
import { anything, throwIfCancelled, create, pause, together, type Run } from "./run.ts";
import { moveTimeoutMs } from "./timing.ts";

/** Throws at the first failure, or `cancelled`, once nothing that was asked for is under way; the caller rolls back. */
export async function prepare(run: Run, profile: ContainerProfile, plan: Plan): Promise<void> {
  const { id, journal, source, destination, timing, linkSecurity: security } = run;
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
          compression: plan.compression,
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
  const pager = async (from: Endpoint): Promise<void> => {
    const { windowBytes, chunkBytes } = plan;
    const whole = plan.mode === "stop-and-copy";
    await create(run, "pager", () =>
      destination.pager.post(
        "/pagers",
        { migrationId: id, secret, source: from, windowBytes, chunkBytes, whole },
        pagerSchema,
        call,
      ),
    );
  };
  const image = async (): Promise<void> => {
    const { imageId, imageRef } = profile.spec;
    const { layersPresent, pull } = plan;
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
  const restore = async (): Promise<string> => {
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
    return containerId;
  };
  const firstPass = async (containerId: string): Promise<void> => {
    await destination.shipper.put(`/receives/${id}/target`, { containerId, volumes, binds: moveBinds }, anything, call);
    goOn();
    await reporting(run, "copying files while the container runs", () =>
      source.shipper.post(`/transfers/${id}/first-pass`, undefined, shippedSchema, {
        timeoutMs: moveTimeoutMs(timing, profile.writableLayerBytes + profile.volumeBytes),
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

  const linked = link();
  const received = linked.then(receive);
  const restored = plan.shipImage ? received.then(image).then(restore) : restore();
  const filesCopied = Promise.all([received, restored]).then(([, containerId]) => firstPass(containerId));
  // Each by itself as well: none may be under way any more when this one fails.
  await together([linked, received, restored, filesCopied, linked.then(pager)], failed);
  throwIfCancelled(run);
  if (plan.precopy) await precopy(run, profile);
  // So that little of it is left for the downtime.
  if (plan.log?.limited === true) await shipLog(run);
  await lastLook(run);
  throwIfCancelled(run);
}

/** The pager holds this much of what it was told of: the rest has changed its place, or would take longer than it is worth. */
const enoughPages = 0.98;
/** Nothing came for so long: nothing more will. */
const precopyStillMs = 500;

/**
 * Sends memory while the container runs, once: pages that change meanwhile are sent again after the freeze. Ends when the
 * pager has what it was told of, or has as much as it can hold, or nothing came for a while.
 */
async function precopy(run: Run, profile: ContainerProfile): Promise<void> {
  const { id, journal, source, destination, clock, timing } = run;
  const { pagesAnnounced } = await source.shipper.post(`/transfers/${id}/precopy`, undefined, precopySchema, {
    timeoutMs: timing.moveMs,
    signal: run.cancelled,
  });
  const deadline = clock.now() + moveTimeoutMs(timing, profile.memoryBytes);
  let held = 0;
  let movedAt = clock.now();
  for (;;) {
    const pager = await destination.pager.get(`/pagers/${id}`, pagerSchema, { timeoutMs: timing.callMs });
    const now = clock.now();
    if (pager.pagesHeld !== held) movedAt = now;
    held = pager.pagesHeld;
    journal.progress(`${held} of ${pagesAnnounced} pages were sent ahead`, {});
    if (held >= pagesAnnounced * enoughPages || now - movedAt > precopyStillMs || now > deadline) return;
    await pause(run, timing.pollMs);
    throwIfCancelled(run);
  }
}

/**
 * Before the freeze: is everything still there? It also leaves a connection open to each service (four to the source's
 * shipper, which is asked as many things at once later), so that none is made inside the downtime.
 */
async function lastLook({ id, source, destination, timing }: Run): Promise<void> {
  const call = { timeoutMs: timing.callMs };
  const [restore, pager, receive] = await Promise.all([
    destination.restorer.get(`/restores/${id}`, restoreSchema, call),
    destination.pager.get(`/pagers/${id}`, pagerSchema, call),
    destination.shipper.get(`/receives/${id}`, receiveSchema, call),
    ...[1, 2, 3, 4].map(() => source.shipper.get(`/transfers/${id}`, transferSchema, call)),
  ] as const);
  const lost = (what: string, why: string): DmigrateError =>
    new DmigrateError("upstream", `${what} on node ${destination.name} ${why}`);
  if (restore.state !== "waiting")
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
