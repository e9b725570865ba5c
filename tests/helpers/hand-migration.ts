/**
 * A migration's files alone, with the test in the planner's place: first pass, freeze, delta. Then both sides stand
 * still, the source frozen and the destination waiting, and can be compared. Disposing of it rolls everything back.
 */
import { randomBytes } from "node:crypto";
import { z } from "zod";
import { createClient, type ServiceClient } from "../../services/shared/client.ts";
import { containerProfileSchema } from "../../services/shared/contracts/container.ts";
import { restoreSchema } from "../../services/shared/contracts/restorer.ts";
import { shippedSchema, transferSchema, type Shipped } from "../../services/shared/contracts/shipper.ts";
import type { LabNode } from "./lab/lab.ts";

export interface HandMigration extends AsyncDisposable {
  /** Directories of the container's files on each node. */
  readonly source: LayerPaths;
  readonly destination: LayerPaths;
  firstPass(): Promise<Shipped>;
  nextPass(): Promise<Shipped>;
  freeze(): Promise<void>;
  delta(): Promise<Shipped>;
}

/** A writable layer, and what the container sees. */
export interface LayerPaths {
  readonly upper: string;
  readonly merged: string;
}

const passTimeoutMs = 60_000;

/** Everything up to the first pass. */
export async function openHandMigration(from: LabNode, to: LabNode, container: string): Promise<HandMigration> {
  const migrationId = `m-${randomBytes(8).toString("hex")}`;
  const secret = randomBytes(32).toString("hex");
  const clientOf = ({ name, agentUrl, token }: LabNode): ServiceClient => createClient(`node ${name}`, agentUrl, token);
  const [source, destination] = [clientOf(from), clientOf(to)];
  const state = { frozen: false };
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(async () => {
    const ends = [`/restores/${migrationId}`, `/receives/${migrationId}`];
    for (const path of ends) await destination.delete(path, z.unknown());
    if (state.frozen) await source.post(`/checkpoints/${migrationId}/abort`, undefined, z.unknown());
    await source.delete(`/transfers/${migrationId}`, z.unknown());
    source.close();
    destination.close();
  });
  const { id: containerId, spec } = await source.get(`/containers/${container}`, containerProfileSchema);
  const volumes = spec.volumes.map(({ name }) => name);
  const { dataPort } = await source.post("/transfers", { migrationId, secret, containerId, volumes }, transferSchema);
  const link = { host: from.ip, port: dataPort };
  await destination.post("/receives", { migrationId, secret, source: link, streams: 2 }, z.unknown());
  const restore = await destination.post("/restores", { migrationId, container: spec }, restoreSchema, {
    timeoutMs: passTimeoutMs,
  });
  await destination.put(`/receives/${migrationId}/target`, { volumes }, z.unknown());
  const { Data } = (await from.docker.getContainer(containerId).inspect()).GraphDriver;
  const { UpperDir, MergedDir } = z.object({ UpperDir: z.string(), MergedDir: z.string() }).parse(Data);
  // Docker answers no question about a container that it is starting.
  const noted = await to.exec(["cat", `/run/dmigrate/containers/${restore.containerId}/layer.json`]);
  const paths = z.object({ upper: z.string(), merged: z.string() });
  const pass = (name: string): Promise<Shipped> =>
    source.post(`/transfers/${migrationId}/${name}`, undefined, shippedSchema, { timeoutMs: passTimeoutMs });
  const rest = cleanup.move();
  return {
    source: { upper: UpperDir, merged: MergedDir },
    destination: paths.parse(JSON.parse(noted.stdout)),
    firstPass: () => pass("first-pass"),
    nextPass: () => pass("next-pass"),
    freeze: async () => {
      state.frozen = true;
      await source.post("/checkpoints", { migrationId, containerId }, z.unknown());
      await source.post(`/checkpoints/${migrationId}/freeze`, {}, z.unknown());
    },
    delta: () => pass("delta"),
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}
