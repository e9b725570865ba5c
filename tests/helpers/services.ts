/** Services whose memory is tested on the way from node to node and back, each with its own check. */
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Prepared, Surroundings, Workload } from "./bench/workloads/workload.ts";
import { postgresWorkload, processWorkload } from "./bench/workloads/servers.ts";
import { storeWorkload } from "./bench/workloads/stores.ts";
import { labelsFor } from "./lab/ownership.ts";

export type Service = Pick<Workload, "name" | "command" | "port" | "prepare">;

/** A heap of objects, buffers and a shared array; the answer to any request is whether all of it is as it was made. */
const nodeProgram = `
const { createHash } = require("node:crypto");
const sha = (bytes) => createHash("sha1").update(bytes).digest("hex");
const make = (n) => createHash("sha512").update("seed " + n).digest();
const buffers = Array.from({ length: 48 }, (_, n) => { const b = Buffer.alloc(1 << 20); for (let at = 0; at < b.length; at += 64) make(n * 65536 + at).copy(b, at); return b; });
const sums = buffers.map(sha);
const objects = new Map(Array.from({ length: 100000 }, (_, n) => [n, { name: "object " + n, digest: make(n).toString("hex"), next: null }]));
for (const [n, o] of objects) o.next = objects.get((n * 7919 + 1) % 100000);
let churn = [];
setInterval(() => { churn.push(Buffer.alloc(100000, churn.length), { at: Date.now(), list: Array.from({ length: 1000 }, Math.random) }); if (churn.length > 200) churn = []; }, 5);
const wrong = () => {
  let count = buffers.filter((b, n) => sha(b) !== sums[n]).length;
  for (const [n, o] of objects) if (o.name !== "object " + n || (n % 10 === 0 && o.digest !== make(n).toString("hex")) || o.next.name !== "object " + ((n * 7919 + 1) % 100000)) count++;
  return count;
};
require("node:http").createServer((_, answer) => answer.end("wrong " + wrong())).listen(8080, "0.0.0.0");
`;

/**
 * Memory of which most pages are equal to others: 16 MiB like no other, 48 MiB of 200 pages over and over, and 32 MiB of one
 * number of 8 bytes. The answer to any request is how many of the three are wrong.
 */
export const equalPagesProgram = `
const { createHash } = require("node:crypto");
const page = (seed) => Buffer.alloc(4096, createHash("sha512").update(seed).digest());
const fill = (mib, seed) => { const b = Buffer.alloc(mib << 20); for (let at = 0; at < b.length; at += 4096) page(seed(at / 4096)).copy(b, at); return b; };
const all = [fill(16, (n) => "own " + n), fill(48, (n) => "common " + n % 200), Buffer.from(new Float64Array(4 << 20).fill(1.5).buffer)];
const sum = (bytes) => createHash("sha1").update(bytes).digest("hex");
const sums = all.map(sum);
require("node:http").createServer((_, answer) => answer.end("wrong " + all.filter((b, n) => sum(b) !== sums[n]).length)).listen(8080, "0.0.0.0");
`;

const nodeService: Service = {
  name: "node-http",
  command: ["node", "-e", nodeProgram],
  port: 8080,
  prepare: async ({ source, destination }) => {
    const ask = async ({ host, port }: typeof source): Promise<string> =>
      (await fetch(`http://${host}:${port}/`, { signal: AbortSignal.timeout(20_000) })).text();
    await untilRight(() => ask(source), "wrong 0");
    return {
      startLoad: () => Promise.resolve(() => Promise.resolve()),
      findFault: async () => {
        const answer = await ask(destination);
        return answer === "wrong 0" ? undefined : answer;
      },
    };
  },
};

/** Without its pager, which would wait for a key where the output is a terminal. */
const psql = "psql -qAt -P pager=off -v ON_ERROR_STOP=1 -U postgres -h";

/** PostgreSQL under pgbench, and a client besides that notes each commit that was acknowledged to it. */
function postgresService(): Service {
  const workload = postgresWorkload("postgres", 1, 60);
  return {
    ...workload,
    prepare: async (surroundings) => {
      const { exec, destination } = surroundings;
      await untilRight(() => exec(`${psql} 127.0.0.1 -c 'SELECT 1'`).then((out) => out.trim()), "1");
      const prepared = await workload.prepare(surroundings);
      await exec(`${psql} 127.0.0.1 -c 'DROP TABLE IF EXISTS noted; CREATE TABLE noted (id bigint PRIMARY KEY)'`);
      let acknowledged: string[] = [];
      return {
        startLoad: async () => {
          const stopPgbench = await prepared.startLoad();
          const stopNoting = await startNoting(surroundings);
          return async () => {
            acknowledged = await stopNoting();
            await stopPgbench();
          };
        },
        findFault: async () => {
          if (acknowledged.length === 0) return "no commit was acknowledged";
          const there = new Set((await exec(`${psql} 127.0.0.1 -c 'SELECT id FROM noted'`)).split("\n"));
          const lost = acknowledged.filter((id) => !there.has(id));
          if (lost.length > 0) return `lost on ${destination.host}: ${lost.length} of ${acknowledged.length} commits`;
          return prepared.findFault();
        },
      } satisfies Prepared;
    },
  };
}

/** Commits one number after the other on whichever node answers; resolves with what ends it and tells the acknowledged ones. */
async function startNoting({ source, destination, outer, workloadImage }: Surroundings) {
  const insert = "INSERT INTO noted VALUES (&) ON CONFLICT (id) DO UPDATE SET id = noted.id RETURNING id;";
  const loop = `
    n=1
    while :; do for host in ${source.host} ${destination.host}; do
      seq $n $((n + 9999)) | sed 's/.*/${insert}/' | PGCONNECT_TIMEOUT=2 timeout 60 ${psql} $host 2>/dev/null | tee /tmp/out
      last=$(tail -n 1 /tmp/out); [ -z "$last" ] || n=$((last + 1))
    done; sleep 0.02; done`;
  const container = await outer.createContainer({
    Image: workloadImage,
    Cmd: ["bash", "-c", loop],
    Labels: labelsFor("services-client"),
  });
  await container.start();
  return async (): Promise<string[]> => {
    await sleep(300);
    await container.kill();
    const logs = await container.logs({ stdout: true, stderr: false });
    await container.remove({ force: true });
    // Each piece of output has a header of 8 bytes in front of it; a number cut by the end was not yet told.
    return logs.toString("latin1").match(/\b\d+(?=\n)/g) ?? [];
  };
}

async function untilRight(ask: () => Promise<string>, right: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    const answer = await ask().catch(String);
    if (answer === right) return;
    if (attempt === 100) throw new Error(`it does not come up: ${answer}`);
    await sleep(100);
  }
}

/** stress-ng compares what it writes, with all of its methods; a difference is told in the log, and by its exit code. */
export const stressCommand = ["stress-ng", "--vm", "2", "--vm-bytes", "96M", "--vm-keep", "--verify", "--timeout", "0"];

/** A service that says nothing by itself is ready once it takes connections. */
function listening(service: Service): Service {
  return {
    ...service,
    prepare: async (surroundings) => {
      await untilRight(async () => {
        const socket = connect({ ...surroundings.source, timeout: 1_000 });
        await once(socket, "connect").finally(() => socket.destroy());
        return "connected";
      }, "connected");
      return service.prepare(surroundings);
    },
  };
}

export const services: readonly Service[] = [
  postgresService(),
  listening(storeWorkload({ name: "memcached", kind: "memcached", megabytes: 64, writesPerSecond: 300 })),
  nodeService,
  listening(processWorkload("64-processes", 64, 1)),
];
