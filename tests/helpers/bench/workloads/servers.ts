/** Workloads whose state is checked from within: an idle busybox, many processes, PostgreSQL, many files. */
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { hasErrno } from "../../../../services/shared/errors.ts";
import { labelsFor } from "../../lab/ownership.ts";
import { noLoad, type Surroundings, type Workload } from "./workload.ts";

/** One process that does nothing until it is asked, and one that echoes. */
export const idleBusybox: Workload = {
  name: "idle-busybox",
  command: ["busybox", "nc", "-ll", "-p", "7000", "-e", "busybox", "cat"],
  megabytes: 1,
  port: 7000,
  protocol: "line",
  keys: 0,
  writesFiles: false,
  prepare: ({ destination }) =>
    Promise.resolve({
      startLoad: noLoad,
      findFault: async () => {
        const answer = await askLine(destination, "still here");
        return answer === "still here" ? undefined : `it answers ${JSON.stringify(answer)}`;
      },
    }),
};

/** @param processes each with `mib` of memory made from a seed, which it compares in the end */
export function processWorkload(name: string, processes: number, mib: number): Workload {
  return {
    name,
    command: ["process-server", "7000", String(processes), String(mib)],
    megabytes: processes * (mib + 1),
    port: 7000,
    protocol: "line",
    keys: 0,
    writesFiles: false,
    prepare: async ({ source, destination }) => {
      const check = (at: typeof source): Promise<string> => askLine(at, "check");
      const right = `ok ${processes}`;
      if ((await check(source)) !== right) throw new Error(`${name} is not right before it is moved`);
      return {
        startLoad: noLoad,
        findFault: async () => {
          const answer = await check(destination);
          return answer === right ? undefined : `processes whose memory is right: ${answer}`;
        },
      };
    },
  };
}

const listFiles = "cd /data && find . -type f -print0 | sort -z | xargs -0 sha1sum | sha1sum";

/** Random files in the writable layer. */
export function filesWorkload(name: string, files: number, fileBytes: number): Workload {
  const make = `mkdir /data && head -c ${files * fileBytes} /dev/urandom | split -a 4 -b ${fileBytes} - /data/`;
  return {
    name,
    command: ["bash", "-c", `${make} && exec process-server 7000 1 1`],
    megabytes: (files * fileBytes) / 1e6 + 2,
    port: 7000,
    protocol: "line",
    keys: 0,
    writesFiles: true,
    prepare: async ({ exec }) => {
      const before = await exec(listFiles);
      return {
        startLoad: noLoad,
        findFault: async () => ((await exec(listFiles)) === before ? undefined : "the files are not what they were"),
      };
    },
  };
}

const connection = "-U postgres -h 127.0.0.1";
/** Each transaction of pgbench adds the same amount to an account, a teller and a branch, and notes it. */
const balances = `
  SELECT (SELECT sum(abalance) FROM pgbench_accounts) || ' ' || (SELECT sum(bbalance) FROM pgbench_branches) || ' ' ||
    (SELECT sum(tbalance) FROM pgbench_tellers) || ' ' || (SELECT sum(delta) FROM pgbench_history)`;

/**
 * Its database is made when the container starts, as the usual image does it; copied, since that is quick. (Of an image's own files,
 * Podman's export leaves out those that were changed.)
 */
const startPostgres = `cp -a /var/lib/pg/data /var/lib/pg/run &&
  exec setpriv --reuid=postgres --regid=postgres --clear-groups postgres -D /var/lib/pg/run`;

/** PostgreSQL with its files in the writable layer, under pgbench at a steady rate. */
export function postgresWorkload(name: string, scale: number, transactionsPerSecond: number): Workload {
  return {
    name,
    command: ["bash", "-c", startPostgres.replace(/\s+/g, " ")],
    megabytes: 300 + scale * 32,
    port: 5432,
    protocol: "postgres",
    keys: 0,
    writesFiles: true,
    prepare: async (surroundings) => {
      const { exec } = surroundings;
      await exec(`pgbench ${connection} -q -i -s ${scale} postgres`);
      return {
        startLoad: () => startPgbench(surroundings, transactionsPerSecond),
        findFault: async () => {
          const sums = (await exec(`psql ${connection} -Atc "${balances}" postgres`)).split(" ");
          if (sums.length !== 4 || new Set(sums).size !== 1) return `balances differ: ${sums.join(", ")}`;
          await exec(`pg_amcheck ${connection} --install-missing --heapallindexed -d postgres`);
          return undefined;
        },
      };
    },
  };
}

/** pgbench from a container of its own: in rounds of a second, since it does not survive the end of a connection. */
async function startPgbench({ source, destination, outer, workloadImage }: Surroundings, rate: number) {
  const hosts = [source, destination].map(({ host }) => host).join(" ");
  const round = `timeout -s KILL 3 pgbench -n -c 4 -R ${rate} -T 1 -U postgres -h $host postgres`;
  const loop = `while :; do for host in ${hosts}; do PGCONNECT_TIMEOUT=2 ${round}; done; sleep 0.02; done >/dev/null 2>&1`;
  const container = await outer.createContainer({
    Image: workloadImage,
    Cmd: ["bash", "-c", loop],
    HostConfig: { AutoRemove: true },
    Labels: labelsFor("bench-client"),
  });
  await container.start();
  return async () => container.remove({ force: true }).then(() => undefined);
}

const askTries = 5;

/** Tries again from another port where connection tracking still leads the first one to a container that is gone (kv/data.ts). */
async function askLine(address: { host: string; port: number }, line: string): Promise<string> {
  for (let left = askTries - 1; ; left--) {
    try {
      return await askOnce(address, line);
    } catch (error) {
      if (left === 0 || !hasErrno(error, "EHOSTUNREACH")) throw error;
      await sleep(100);
    }
  }
}

function askOnce({ host, port }: { host: string; port: number }, line: string): Promise<string> {
  const socket = connect({ host, port, timeout: 15_000 });
  socket.once("timeout", () => socket.destroy(new Error(`no answer from ${host}:${port}`)));
  socket.write(`${line}\n`);
  // Both servers keep the connection open: one line is the answer.
  return new Promise((resolve, reject) => {
    let received = "";
    socket.on("error", reject).on("data", (chunk) => {
      received += chunk.toString();
      if (!received.includes("\n")) return;
      socket.destroy();
      resolve(received.slice(0, received.indexOf("\n")));
    });
  });
}
