/**
 * What two fake nodes are about: containers, and the rules that no order of calls and no failure may break. A rule that
 * is broken is noted in `violations`; a call that comes at the wrong time is answered as the real services would.
 */
import type { NodeResources } from "../../services/shared/contracts/common.ts";
import type { ContainerProfile } from "../../services/shared/contracts/container.ts";
import type { Checkpoint } from "../../services/shared/contracts/dumper.ts";
import type { Pager } from "../../services/shared/contracts/pager.ts";
import type { Restore } from "../../services/shared/contracts/restorer.ts";

export type ContainerState = "running" | "frozen" | "stopped" | "absent";

export interface FakeNodeState {
  readonly name: string;
  /** Containers by id. */
  readonly containers: Map<string, ContainerState>;
  readonly transfers: Map<string, { secret: string; secretsUsed: number; done: Set<string> }>;
  readonly receives: Map<string, { target: boolean }>;
  readonly checkpoints: Map<string, Checkpoint>;
  readonly restores: Map<string, Restore & { replaces?: string | undefined; hasLogRoom: boolean }>;
  readonly pagers: Map<string, Pager & { polls: number; whole: boolean }>;
  resources: NodeResources;
  hasImage: boolean;
  /** What the node's Docker meets when it pulls an image. */
  registry: "quick" | "slow" | "without it";
  /** What the restorer's check says. */
  refusals: { code: string; message: string }[];
  /** Times a drain is asked after before it is done. */
  drainPolls: number;
  /** A freeze was asked to be followed by dump and seal. */
  dumpsUnasked: boolean;
  restartPolicy: string | undefined;
  /** The container was resumed here. */
  hasRun: boolean;
}

export interface FakeWorld {
  readonly a: FakeNodeState;
  readonly b: FakeNodeState;
  profile: ContainerProfile;
  /** What a probe of the link finds; undefined when it fails. */
  linkBytesPerSecond: number | undefined;
  /** Calls in the order in which they arrived: `a POST /checkpoints/:id/dump`. */
  readonly calls: string[];
  readonly violations: string[];
  /** Looks at both nodes; called after every change. */
  check(what: string): void;
  /** True when nothing of a migration is left on either node. */
  isClean(): boolean;
}

export const sourceId = "a".repeat(64);
export const destinationId = "b".repeat(64);

const MiB = 1 << 20;

export const fakeResources = (): NodeResources => ({
  cores: 4,
  cpu: { vendor: "GenuineIntel", model: "Test CPU", flags: ["fpu", "sse2", "avx2"] },
  arch: "x64",
  kernel: "6.18.0",
  loadAverage1m: 0.5,
  pressureSomeAvg10: { cpu: 1, io: 0, memory: 0 },
  memoryTotalBytes: 8192 * MiB,
  memoryAvailableBytes: 4096 * MiB,
  swapFreeBytes: 0,
  diskFreeBytes: 20_480 * MiB,
  diskFreeInodes: 1_000_000,
  stateFreeBytes: 1024 * MiB,
  docker: {
    version: "28.5.1",
    storageDriver: "overlay2",
    imageStore: "docker",
    rootDir: "/var/lib/docker",
    cgroupVersion: "2",
    runtimes: ["runc", "dmigrate"],
    hasDmigrateRuntime: true,
  },
  criuVersion: "4.2.1",
  runcVersion: "1.3.0",
  activeMigrations: 0,
});

export const fakeProfile = (): ContainerProfile => ({
  id: sourceId,
  running: true,
  spec: {
    name: "web",
    imageId: `sha256:${"c".repeat(64)}`,
    imageRef: "web:1",
    config: {},
    hostConfig: {},
    volumes: [{ name: "data", target: "/data", readOnly: false, driver: "local", labels: {}, options: {} }],
    networks: [],
  },
  bindMounts: [],
  writableLayerBytes: MiB,
  volumeBytes: MiB,
  inodes: 100,
  imageBytes: 50 * MiB,
  imageLayers: [],
  repoDigests: [],
  memoryBytes: 64 * MiB,
  processes: 2,
  namelessBytes: 0,
  tcpConnections: 0,
  refusals: [],
});

function newNode(name: string): FakeNodeState {
  return {
    name,
    containers: new Map(),
    transfers: new Map(),
    receives: new Map(),
    checkpoints: new Map(),
    restores: new Map(),
    pagers: new Map(),
    resources: fakeResources(),
    hasImage: true,
    registry: "quick",
    refusals: [],
    drainPolls: 2,
    dumpsUnasked: false,
    restartPolicy: undefined,
    hasRun: false,
  };
}

/** The container `web` runs on node a; node b is empty. */
export function createFakeWorld(): FakeWorld {
  const a = newNode("a");
  const b = newNode("b");
  a.containers.set(sourceId, "running");
  a.restartPolicy = "always";
  const violations: string[] = [];
  let destinationRan = false;
  return {
    a,
    b,
    profile: fakeProfile(),
    linkBytesPerSecond: 125e6,
    calls: [],
    violations,
    check: (what) => {
      const source = a.containers.get(sourceId) ?? "absent";
      const destination = b.containers.get(destinationId) ?? "absent";
      if (destination === "running") destinationRan = true;
      if (source === "running" && destination === "running") violations.push(`both run after ${what}`);
      if (source === "running" && destinationRan) violations.push(`the source runs again after ${what}`);
      const neither = ["stopped", "absent"].includes(source) && destination !== "running";
      if (neither) violations.push(`nobody can run any more after ${what}`);
    },
    isClean: () =>
      [a, b].every((node) => node.transfers.size + node.receives.size + node.pagers.size === 0) &&
      [...b.restores.values()].every(({ state }) => state === "finished") &&
      [...a.checkpoints.values()].every(({ state }) => state === "aborted" || state === "committed"),
  };
}
