/** All workloads, smallest first. */
import { filesWorkload, idleBusybox, postgresWorkload, processWorkload } from "./servers.ts";
import { storeWorkload } from "./stores.ts";
import type { Workload } from "./workload.ts";

const writesPerSecond = 5_000;

export const workloads: readonly Workload[] = [
  idleBusybox,
  storeWorkload({ name: "redis-64mb", kind: "redis", megabytes: 64, writesPerSecond }),
  processWorkload("processes-64", 64, 1),
  postgresWorkload("postgres", 10, 200),
  filesWorkload("files-1gb", 10_000, 100_000),
  storeWorkload({ name: "memcached-1gb", kind: "memcached", megabytes: 1_000, writesPerSecond }),
  storeWorkload({ name: "redis-1gb", kind: "redis", megabytes: 1_000, writesPerSecond }),
  storeWorkload({ name: "redis-4gb", kind: "redis", megabytes: 4_000, writesPerSecond }),
];
