/** What a workload is to the benchmark. */
import type Docker from "dockerode";

import type { ProtocolName } from "../probe/protocols.ts";
import type { Address } from "../probe/seek.ts";

/** What a workload may use while it runs. */
export interface Surroundings {
  /** Where it runs now, and where it will: the port it publishes, on both nodes. */
  readonly source: Address;
  readonly destination: Address;
  /** The engine that the nodes are containers of, and the workloads' image in it: for clients that are programs. */
  readonly outer: Docker;
  readonly workloadImage: string;
  /** Runs a command in the container, wherever it is at that moment; returns its output. */
  readonly exec: (command: string, timeoutMs?: number) => Promise<string>;
}

export interface Prepared {
  /** Starts the clients that give it work; resolves with what ends them. */
  startLoad(): Promise<() => Promise<void>>;
  /** After the migration and the end of the load: says what is wrong with the data, or undefined. */
  findFault(): Promise<string | undefined>;
}

/** What a system must know of what it moves. */
export interface Program {
  readonly name: string;
  readonly command: readonly string[];
  /** Memory and files of one copy, MB: what a system that writes everything down needs room for. */
  readonly megabytes: number;
  /** Published under the same number on both nodes. */
  readonly port: number;
  /** Its state is also in files of the writable layer, which a system must bring along. */
  readonly writesFiles: boolean;
}

export interface Workload extends Program {
  readonly protocol: ProtocolName;
  /** How many keys a store is filled with; 0 for others. */
  readonly keys: number;
  /** Fills it and makes it ready. It runs and answers already. */
  prepare(surroundings: Surroundings): Promise<Prepared>;
}

export const noLoad = (): Promise<() => Promise<void>> => Promise.resolve(() => Promise.resolve());
