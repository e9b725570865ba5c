/** All of a dump that can be done while the container still runs: its description for CRIU, and a CRIU that waits. */
import { closeSync, openSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { readProcess } from "../shared/adapters/processes.ts";
import type { MigrationPaths } from "../shared/node-paths.ts";
import { startCriu, type Criu } from "./adapters/criu.ts";
import { criuConfigPath, makeDumpDirs } from "./adapters/dump-files.ts";
import { canScanPages, openPageScanner } from "../shared/adapters/pagemap-scan.ts";
import { prepareNetworkLock } from "./adapters/network-lock.ts";
import { externalMounts, externalNetwork, readRuncState } from "./adapters/runc-container.ts";
import type { HeldCheckpoint } from "./checkpoint.ts";

/** A process with less memory of its own is left to CRIU: to hide it costs a mount, and images that we write. */
const hideFromBytes = 8 << 20;
/** Shared memory is CRIU's in any case, but the page map of each process that has it is longer by it. */
const hideFromSharedBytes = 512 << 20;
/** The first process is the one that answers, as a rule: what it needs first is to be in the images (memory-images.ts). */
const hideFirstFromBytes = 1 << 20;
const mostEagerBytes = 16 << 20;
/** What runc keeps beside CRIU's images: it reads it before a restore. */
const descriptorsName = "descriptors.json";

export interface PreparedDump {
  readonly criu: Criu;
  /** Dumps the frozen container, whose network is shut meanwhile. See `Criu.dump`. */
  dump(): Promise<void>;
  /** Ends all that waits or works; resolves when the processes and the network are the container's alone again. */
  end(): Promise<void>;
}

/** `standIn`: pid of a process with next to no memory, which outlives the dump. */
export async function prepareDump(
  { record, freezer, paths }: Pick<HeldCheckpoint, "record" | "freezer" | "paths">,
  standIn: number,
): Promise<PreparedDump> {
  const { containerId, initPid } = record;
  const state = readRuncState(containerId, initPid);
  makeDumpDirs(paths);
  const mounts = externalMounts(state, initPid);
  const network = externalNetwork(initPid);
  const [criu, lock] = await both(
    startCriu(paths, standIn, worthHiding(freezer.processes(), initPid)),
    prepareNetworkLock(initPid),
  );
  return {
    criu,
    end: async () => {
      await Promise.all([criu.end(), lock.end()]);
    },
    dump: () =>
      withDirectory(paths, async (workDirFd) => {
        await lock.lock();
        writeFileSync(join(paths.imagesDir, descriptorsName), JSON.stringify(state.descriptors), { mode: 0o600 });
        await criu.dump({
          imagesDir: paths.imagesDir,
          workDirFd,
          pid: initPid,
          rootfs: state.rootfs,
          ...(state.freezerDir !== undefined && { freezerDir: state.freezerDir }),
          externalMounts: mounts,
          externalNamespaces: [network],
          configFile: criuConfigPath(paths),
        });
        // Nobody waits for it: it is the kernel's to finish.
        void lock.end();
      }),
  };
}

/** Both, or neither: what has started is ended when the other could not be. */
async function both<A extends { end(): Promise<void> }, B extends { end(): Promise<void> }>(
  first: Promise<A>,
  second: Promise<B>,
): Promise<[A, B]> {
  try {
    return await Promise.all([first, second]);
  } catch (error) {
    for (const started of await Promise.allSettled([first, second]))
      if (started.status === "fulfilled") await started.value.end();
    throw error;
  }
}

/**
 * Left to CRIU are guard pages, which the page map tells too and CRIU alone restores, and processes with much memory that
 * cannot be lazy: it goes into the images, which CRIU writes piece by piece.
 */
function worthHiding(hostPids: readonly number[], first: number): number[] {
  if (!canScanPages()) return [];
  return hostPids.filter((hostPid) => {
    const { memoryBytes = 0, privateBytes = 0, eagerBytes = 0 } = readProcess(hostPid) ?? {};
    const isLarge =
      privateBytes >= (hostPid === first ? hideFirstFromBytes : hideFromBytes) || memoryBytes >= hideFromSharedBytes;
    return isLarge && eagerBytes <= mostEagerBytes && !mayHaveGuards(hostPid);
  });
}

function mayHaveGuards(hostPid: number): boolean {
  try {
    using scanner = openPageScanner(hostPid);
    return scanner.hasGuards();
  } catch {
    return true; // It has ended, or will not be looked at: CRIU's affair.
  }
}

async function withDirectory(paths: MigrationPaths, use: (fd: number) => Promise<void>): Promise<void> {
  const fd = openSync(paths.workDir, "r");
  try {
    await use(fd);
  } finally {
    closeSync(fd);
  }
}
