/**
 * (c), (d) runc and CRIU by hand, with Docker's container at both ends: the destination's is started with a runtime that restores
 * (images/bench-runc) instead of creating.
 */
import type { BenchLab } from "../bench-lab.ts";
import { listen, sendTree } from "./copy.ts";
import { createPair, runOnSource } from "./docker.ts";
import type { Program } from "../workloads/workload.ts";
import { configureCriu, containerName, scratch, type System } from "./system.ts";

const pagePort = 7497;
const directories = `mkdir -p ${scratch}/img ${scratch}/work`;
const places = `--image-path ${scratch}/img --work-path ${scratch}/work`;
const checkpoint = "runc --root /run/docker/runtime-runc/moby checkpoint --tcp-established --file-locks";

/** Everything that needs no freeze. */
async function prepare(lab: BenchLab, program: Program, restoreOptions: string, timeoutMs: number) {
  const { a, b } = lab;
  await configureCriu(lab);
  const pair = await createPair(lab, program, "--runtime bench ");
  await Promise.all([
    a.run(directories),
    b.run(`${directories} && printf '%s\\n' ${pair.destinationId} '${restoreOptions}' > ${scratch}/restore`),
  ]);
  const receiver = await listen(lab, `tar -x -C ${scratch}/img`, timeoutMs);
  await pair.copyFiles(timeoutMs);
  return { ...pair, receiver };
}

export const criuStopCopy: System = {
  name: "criu-stop-copy",
  // During the restore: the images here and there, and the processes.
  copies: 3,
  exec: `docker exec ${containerName}`,
  start: runOnSource,
  migrate: async (lab, program, timeoutMs) => {
    const { sourceId, receiver, copyFiles } = await prepare(lab, program, "", timeoutMs);
    await lab.a.run(`${checkpoint} ${places} ${sourceId}`, { timeoutMs });
    await Promise.all([sendTree(lab, `${scratch}/img`, ".", receiver, timeoutMs), copyFiles(timeoutMs)]);
    await lab.b.run(`docker start ${containerName}`, { timeoutMs });
    return undefined;
  },
};

export const criuLazy: System = {
  name: "criu-lazy",
  copies: 2.5,
  exec: `docker exec ${containerName}`,
  start: runOnSource,
  migrate: async (lab, program, timeoutMs) => {
    const { a, b } = lab;
    const { sourceId, receiver, copyFiles } = await prepare(lab, program, "--lazy-pages", timeoutMs);
    const limit = "/proc/sys/fs/pipe-max-size";
    const before = await a.run(`mkfifo ${scratch}/status && cat ${limit} && echo 1073741824 > ${limit}`);
    try {
      const status = a.run(`head -c 1 ${scratch}/status >/dev/null`, { timeoutMs });
      const lazy = `--lazy-pages --page-server 0.0.0.0:${pagePort} --status-fd 9`;
      const dump = a.run(`${checkpoint} ${lazy} ${places} ${sourceId} 9>${scratch}/status`, { timeoutMs });
      // A dump that fails ends the wait too, since the other end of the FIFO closes then.
      await Promise.all([status, Promise.race([dump, status])]);
      await Promise.all([sendTree(lab, `${scratch}/img`, ".", receiver, timeoutMs), copyFiles(timeoutMs)]);
      const where = `--images-dir ${scratch}/img --work-dir ${scratch}/work`;
      const pages = b.run(`criu lazy-pages ${where} --page-server --address ${a.ip} --port ${pagePort}`, { timeoutMs });
      pages.catch(() => undefined);
      await b.run(
        `for i in $(seq 500); do cd ${scratch}/work && [ -S lazy-pages.socket ] && exit; sleep 0.002; done; exit 1`,
      );
      await b.run(`docker start ${containerName}`, { timeoutMs });
      const resumed = performance.now();
      await pages;
      const ms = performance.now() - resumed;
      await dump;
      return { ms };
    } finally {
      // It is the machine's.
      await a.run(`echo ${before} > ${limit}`);
    }
  },
};
