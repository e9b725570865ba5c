/**
 * Everything that can be done while the container still runs at the source: the data connection, the image, the
 * container at the destination waiting for its processes, a first pass over the files, and the pager.
 */
import { randomBytes } from "node:crypto";
import type { ContainerProfile } from "../shared/contracts/container.ts";
import { pagerSchema } from "../shared/contracts/pager.ts";
import type { Plan } from "../shared/contracts/planner.ts";
import { restoreSchema } from "../shared/contracts/restorer.ts";
import { receiveSchema, shippedSchema, transferSchema } from "../shared/contracts/shipper.ts";
import { DmigrateError } from "../shared/errors.ts";
import { anything, throwIfCancelled, create, type Run } from "./run.ts";
import { moveTimeoutMs } from "./timing.ts";

/** Throws at the first failure, or `cancelled`; the caller rolls back. */
export async function prepare(run: Run, profile: ContainerProfile, plan: Plan): Promise<void> {
  const { id, journal, source, destination, timing } = run;
  const call = { timeoutMs: timing.callMs };
  const volumes = profile.spec.volumes.map(({ name }) => name);
  const { moveBinds } = plan;
  // Only the two nodes ever know it; a migration that has lost it is rolled back, never continued.
  const secret = randomBytes(32).toString("hex");

  const transfer = await create(run, "transfer", () =>
    source.shipper.post(
      "/transfers",
      { migrationId: id, secret, containerId: profile.id, volumes, binds: moveBinds, compression: plan.compression },
      transferSchema,
      call,
    ),
  );
  throwIfCancelled(run);
  const link = { host: source.dataHost, port: transfer.dataPort };
  await create(run, "receive", () =>
    destination.shipper.post(
      "/receives",
      { migrationId: id, secret, source: link, streams: plan.streams },
      receiveSchema,
      call,
    ),
  );
  throwIfCancelled(run);
  if (plan.shipImage) {
    const { imageId, imageRef } = profile.spec;
    const { layersPresent } = plan;
    await reporting(run, `sending the image ${imageRef}`, () =>
      source.shipper.post(`/transfers/${id}/image`, { imageId, imageRef, layersPresent }, shippedSchema, {
        timeoutMs: moveTimeoutMs(timing, profile.imageBytes),
        signal: run.cancelled,
      }),
    );
    throwIfCancelled(run);
  }
  const { replaces } = journal.job;
  const restore = await create(run, "restore", () =>
    destination.restorer.post(
      "/restores",
      { migrationId: id, container: profile.spec, moveBinds, ...(replaces !== undefined && { replaces }) },
      restoreSchema,
      { timeoutMs: timing.createMs },
    ),
  );
  journal.update({ destinationContainerId: restore.containerId });
  throwIfCancelled(run);
  const target = { containerId: restore.containerId, volumes, binds: moveBinds };
  await destination.shipper.put(`/receives/${id}/target`, target, anything, call);
  throwIfCancelled(run);
  await reporting(run, "copying files while the container runs", () =>
    source.shipper.post(`/transfers/${id}/first-pass`, undefined, shippedSchema, {
      timeoutMs: moveTimeoutMs(timing, profile.writableLayerBytes + profile.volumeBytes),
      signal: run.cancelled,
    }),
  );
  throwIfCancelled(run);
  const { windowBytes, chunkBytes } = plan;
  await create(run, "pager", () =>
    destination.pager.post(
      "/pagers",
      { migrationId: id, secret, source: link, windowBytes, chunkBytes },
      pagerSchema,
      call,
    ),
  );
  await lastLook(run);
  throwIfCancelled(run);
}

/**
 * Before the freeze: is everything still there? It also leaves a connection open to each service (three to the source's
 * shipper, which is asked three things at once later), so that none is made inside the downtime.
 */
async function lastLook({ id, source, destination, timing }: Run): Promise<void> {
  const call = { timeoutMs: timing.callMs };
  const [restore, pager, receive] = await Promise.all([
    destination.restorer.get(`/restores/${id}`, restoreSchema, call),
    destination.pager.get(`/pagers/${id}`, pagerSchema, call),
    destination.shipper.get(`/receives/${id}`, receiveSchema, call),
    ...[1, 2, 3].map(() => source.shipper.get(`/transfers/${id}`, transferSchema, call)),
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
