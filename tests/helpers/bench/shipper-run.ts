/** Our shipper alone, driven as the planner drives it: a volume of a container on node a into the same on node b. */
import { randomBytes } from "node:crypto";
import { z } from "zod";

import { createClient, type ServiceClient } from "../../../services/shared/client.ts";
import { containerProfileSchema } from "../../../services/shared/contracts/container.ts";
import { restoreSchema } from "../../../services/shared/contracts/restorer.ts";
import { shippedSchema, transferSchema, type LinkSecurity } from "../../../services/shared/contracts/shipper.ts";
import { benchImage, type BenchLab } from "./bench-lab.ts";
import type { Shell } from "./shell.ts";

const container = "bench-files";
export const volume = "bench-files";
/** Where Docker keeps it. */
export const volumePath = `/var/lib/docker/volumes/${volume}/_data`;

export interface ShipperRun extends AsyncDisposable {
  readonly migrationId: string;
  readonly secret: string;
  readonly dataPort: number;
  /** All files; resolves with the time until the destination had them, ms. */
  firstPass(timeoutMs: number): Promise<number>;
  /** What changed since; the same. */
  delta(timeoutMs: number): Promise<number>;
  /** Lets pages of the container's first process be fetched. */
  openMemory(): Promise<void>;
}

/** Makes the volume on both nodes, and the container on a, where it runs, so that it has memory. */
export async function makeContainers({ a, b }: BenchLab): Promise<void> {
  await Promise.all([a, b].map((shell) => removeContainer(shell)));
  const options = `--name ${container} -v ${volume}:/data ${benchImage} process-server 7000 1 64`;
  await Promise.all([a.run(`docker run -d ${options}`), b.run(`docker volume create ${volume}`)]);
}

export async function removeContainer(shell: Shell): Promise<void> {
  await shell.run(`docker rm -fv ${container} >/dev/null 2>&1; docker volume rm -f ${volume} >/dev/null 2>&1; true`, {
    quiet: true,
  });
}

/** Opens a transfer between the nodes; ends it when disposed of. */
export async function openShipper({ a, b }: BenchLab, security: LinkSecurity = "tls"): Promise<ShipperRun> {
  const migrationId = `m-${randomBytes(8).toString("hex")}`;
  const secret = randomBytes(32).toString("hex");
  const [source, destination] = [a, b].map(({ node }) =>
    createClient(`node ${node.name}`, node.agentUrl, node.token),
  ) as [ServiceClient, ServiceClient];
  const volumes = [volume];
  const ended = async (): Promise<void> => {
    await Promise.allSettled([
      destination.delete(`/restores/${migrationId}`, z.unknown()),
      destination.delete(`/receives/${migrationId}`, z.unknown()),
    ]);
    await Promise.allSettled([source.delete(`/transfers/${migrationId}`, z.unknown())]);
    source.close();
    destination.close();
  };
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(ended);
  const { id: containerId, spec } = await source.get(`/containers/${container}`, containerProfileSchema);
  const transfer = { migrationId, secret, containerId, volumes, security };
  const { dataPort } = await source.post("/transfers", transfer, transferSchema);
  const receive = { migrationId, secret, source: { host: a.ip, port: dataPort }, security };
  await destination.post("/receives", receive, z.unknown());
  await destination.post("/restores", { migrationId, container: spec }, restoreSchema);
  await destination.put(`/receives/${migrationId}/target`, { volumes }, z.unknown());
  const timed = async (path: string, timeoutMs: number): Promise<number> => {
    const began = performance.now();
    await source.post(`/transfers/${migrationId}/${path}`, undefined, shippedSchema, { timeoutMs });
    return performance.now() - began;
  };
  const rest = cleanup.move();
  return {
    migrationId,
    secret,
    dataPort,
    firstPass: (timeoutMs) => timed("first-pass", timeoutMs),
    delta: (timeoutMs) => timed("delta", timeoutMs),
    openMemory: async () => {
      const hostPid = Number(await a.run(`docker inspect -f '{{.State.Pid}}' ${container}`, { quiet: true }));
      await source.post(`/transfers/${migrationId}/memory`, { processes: [{ pid: 1, hostPid }] }, transferSchema);
    },
    [Symbol.asyncDispose]: () => rest.disposeAsync(),
  };
}
