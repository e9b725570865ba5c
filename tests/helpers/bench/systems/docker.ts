/** (a) Docker's own checkpoints, and what the CRIU peers share with it: a container of Docker at both ends. */
import { benchImage, type BenchLab } from "../bench-lab.ts";
import { line } from "../shell.ts";
import type { Program } from "../workloads/workload.ts";
import { listen, sendTree, synchronise, upperDir } from "./copy.ts";
import { configureCriu, containerName, type System } from "./system.ts";

/** The arguments that make the same container everywhere. */
export const containerArguments = ({ port, command }: Program): string =>
  `--name ${containerName} -p ${port}:${port} ${benchImage} ${line(...command)}`;

export async function runOnSource({ a }: BenchLab, program: Program): Promise<void> {
  await a.run(`docker run -d ${containerArguments(program)}`);
}

export interface Pair {
  readonly sourceId: string;
  readonly destinationId: string;
  /** Copies the writable layer, if the program's state is in it: once before the freeze, once within. */
  readonly copyFiles: (timeoutMs: number) => Promise<void>;
}

/** Creates the container on node b, and finds out what there is to know of both; the source runs on. */
export async function createPair(lab: BenchLab, program: Program, createOptions = ""): Promise<Pair> {
  const { a, b } = lab;
  const [sourceId, destinationId] = await Promise.all([
    a.run(`docker inspect -f '{{.Id}}' ${containerName}`),
    b.run(`docker create ${createOptions}${containerArguments(program)}`),
  ]);
  if (!program.writesFiles) return { sourceId, destinationId, copyFiles: () => Promise.resolve() };
  const [from, to] = await Promise.all([upperDir(lab, "a", containerName), upperDir(lab, "b", containerName)]);
  return { sourceId, destinationId, copyFiles: (timeoutMs) => synchronise(lab, from, to, timeoutMs) };
}

export const docker: System = {
  name: "docker",
  // The images, twice more in containerd's content store, and the processes.
  copies: 5,
  start: runOnSource,
  exec: `docker exec ${containerName}`,
  migrate: async (lab, program, timeoutMs) => {
    const { a, b } = lab;
    const directory = (id: string): string => `/var/lib/docker/containers/${id}/checkpoints`;
    await configureCriu(lab);
    const { sourceId, destinationId, copyFiles } = await createPair(lab, program);
    const target = directory(destinationId);
    await b.run(`mkdir -p ${target}`);
    const receiver = await listen(lab, `tar -x -C ${target}`, timeoutMs);
    await copyFiles(timeoutMs);
    await a.run(`docker checkpoint create ${containerName} cp`, { timeoutMs });
    await Promise.all([sendTree(lab, directory(sourceId), "cp", receiver, timeoutMs), copyFiles(timeoutMs)]);
    await b.run(`docker start --checkpoint cp ${containerName}`, { timeoutMs });
    return undefined;
  },
};
