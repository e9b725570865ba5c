/**
 * The numbers a migration runs with, from what both nodes have to spend and what the container is. Pure arithmetic:
 * each number comes with one sentence that says what it was computed from.
 */
import type { NodeResources } from "../../shared/contracts/common.ts";
import type { ContainerProfile } from "../../shared/contracts/container.ts";
import type { MigrationMode, Plan } from "../../shared/contracts/planner.ts";
import type { LinkSpeed } from "./link-speed.ts";
import { planLogRoom } from "./log-room.ts";
import { count, percent, rate, size } from "./plan-text.ts";
import { planPull } from "./pull.ts";

export interface PlanInput {
  mode: MigrationMode;
  source: NodeResources;
  destination: NodeResources;
  link: LinkSpeed;
  /** What is there already: a plan that is made anew keeps it. */
  open?: Pick<Plan, "streams" | "readers">;
  profile: Pick<
    ContainerProfile,
    | "memoryBytes"
    | "writableLayerBytes"
    | "volumeBytes"
    | "imageBytes"
    | "imageLayers"
    | "repoDigests"
    | "log"
    | "processes"
    | "tcpConnections"
  >;
  /** The destination lacks the image. */
  shipImage: boolean;
  /** How many of the image's layers it has all the same. */
  layersPresent: number;
  /** Registries that the destination may pull it from. */
  pullFrom: readonly string[];
}

export type PlanNumbers = Pick<
  Plan,
  | "readers"
  | "streams"
  | "chunkBytes"
  | "windowBytes"
  | "earlyBytes"
  | "precopy"
  | "earlyPages"
  | "compression"
  | "log"
  | "pull"
  | "aheadBytes"
  | "expectedBytes"
  | "reasons"
>;

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;

/** What one TCP stream of ours moves at most, bytes per second (measured 1.6 GB/s; a little less under load). */
const streamBytesPerSecond = 1.25e9;
/** How often either end copies what a stream moves: out of the process or the socket, through the cipher, into the socket or the process. */
const copiesPerStream = 4;
/** What zstd at its fastest level makes of memory per core, bytes per second of input. */
const zstdBytesPerSecond = 3e8;
/** Above this share of time spent waiting (PSI), a node has no CPU or memory to give away. */
const busyPercent = 25;
/** Memory that one reader is worth being started for. */
const readerBytes = 64 * MiB;
const mostReaders = 8;

export function computePlan(input: PlanInput): PlanNumbers {
  const { source, destination, profile } = input;
  const link = input.link.bytesPerSecond;
  const streams = planStreams(input, link);
  const readers = planReaders(input, streams.value);
  const chunk = planChunk(link);
  const window = planWindow(destination, profile.memoryBytes);
  const earlyBytes = roomAhead(destination, profile.memoryBytes);
  const precopy = planPrecopy(input, link, earlyBytes);
  const early = planEarlyPages(input, link, precopy.value);
  const compression = planCompression(source, destination, link);
  const { log, reason: logReason } = planLogRoom(profile);
  const pull = planPull(input);
  const ahead = planAhead(input, link);
  const expectedBytes =
    profile.memoryBytes +
    profile.writableLayerBytes +
    profile.volumeBytes +
    (input.shipImage ? profile.imageBytes : 0) +
    criuImageBytes(profile.processes) +
    logBytes(profile);
  return {
    readers: readers.value,
    streams: streams.value,
    chunkBytes: chunk.value,
    windowBytes: window.value,
    earlyBytes: precopy.value ? earlyBytes : window.value,
    precopy: precopy.value,
    earlyPages: early.value,
    compression: compression.value,
    ...(log !== undefined && { log }),
    ...(pull.ref !== undefined && { pull: pull.ref }),
    aheadBytes: ahead.value,
    expectedBytes,
    reasons: [
      input.link.reason,
      readers.reason,
      streams.reason,
      chunk.reason,
      window.reason,
      ...(input.mode === "post-copy" ? [] : [precopy.reason]),
      early.reason,
      compression.reason,
      logReason,
      ...(input.shipImage ? [pull.reason, ahead.reason] : []),
      expectedReason(input, expectedBytes),
      ...notes(input),
    ],
  };
}

/** CRIU's images without the memory: about 1.3 MB for one process, and some for each further one. */
export const criuImageBytes = (processes: number): number => 2 * MiB + processes * 256 * KiB;

/** The container's log, as far as it moves. */
export const logBytes = ({ log }: Pick<ContainerProfile, "log">): number =>
  log === undefined ? 0 : log.bytes + log.rotatedBytes;

interface Choice<T> {
  value: T;
  reason: string;
}

const clamp = (value: number, least: number, most: number): number => Math.min(Math.max(value, least), most);

/** Cores that nobody uses, from the load average; never negative. */
const idleCores = (node: NodeResources): number => Math.max(0, node.cores - node.loadAverage1m);

const cpuWaits = (node: NodeResources): boolean => (node.pressureSomeAvg10.cpu ?? 0) > busyPercent;

/** Each reads memory for a stream of its own, and has a thread at the destination that fills in what it has read. */
function planReaders({ source, destination, profile, open }: PlanInput, streams: number): Choice<number> {
  if (open !== undefined)
    return { value: open.readers, reason: `${count(open.readers, "reader")}: started before the link was measured` };
  const shares = [source, destination].map((node) => {
    const free = cpuWaits(node) ? idleCores(node) / 2 : idleCores(node);
    return Math.floor(free / (node.activeMigrations + 1));
  });
  const { memoryBytes } = profile;
  const useful = Math.max(1, Math.ceil(memoryBytes / readerBytes));
  const bulkStreams = Math.max(1, streams - 1);
  const value = clamp(Math.min(...shares), 1, Math.min(useful, bulkStreams, source.cores, mostReaders));
  const idle = [source, destination].map(
    (node) =>
      `${idleCores(node).toFixed(1)} of ${node.cores}` +
      (cpuWaits(node) ? `, halved as tasks wait ${percent(node.pressureSomeAvg10.cpu)} of the time,` : ""),
  );
  const others = Math.max(source.activeMigrations, destination.activeMigrations);
  return {
    value,
    reason:
      `${count(value, "reader")}: ${idle[0] ?? ""} cores idle at the source and ${idle[1] ?? ""} at the destination, shared ` +
      `with ${count(others, "other migration")}; ${count(bulkStreams, "stream")} for bulk, and ${size(memoryBytes)} of ` +
      `memory keep at most ${useful} busy`,
  };
}

function planStreams({ source, destination, open }: PlanInput, link: number | undefined): Choice<number> {
  if (open !== undefined)
    return { value: open.streams, reason: `${count(open.streams, "stream")}: opened before the link was measured` };
  const cores = Math.min(source.cores, destination.cores);
  const active = Math.max(source.activeMigrations, destination.activeMigrations);
  // One stream more than the bulk needs, so that an urgent frame never waits for it.
  const memory = Math.min(...[source, destination].map((node) => node.memoryBytesPerSecond ?? Infinity));
  const perStream = Math.min(streamBytesPerSecond, memory / copiesPerStream);
  const bulk = link === undefined ? 1 : Math.ceil(link / perStream);
  const value = 1 + clamp(Math.floor(bulk / (active + 1)), 1, clamp(cores - 1, 1, 7));
  const speed = link === undefined ? "a link of unknown speed" : rate(link);
  const copied = memory === Infinity ? "" : `, memory is copied at ${size(memory)}/s,`;
  const each = link === undefined ? "" : `, of which one moves ${rate(perStream)}${copied}`;
  return {
    value,
    reason:
      `${count(value, "stream")}: ${value - 1} for bulk over ${speed}${each} with ` +
      `${cores} cores at the smaller end, and 1 kept for urgent frames`,
  };
}

function planChunk(link: number | undefined): Choice<number> {
  const most = 256 * KiB;
  if (link === undefined) {
    return { value: most, reason: `chunks of ${size(most)}: the link's speed is unknown, taken as fast` };
  }
  const perMillisecond = link / 1000;
  const value = clamp(2 ** Math.floor(Math.log2(Math.max(1, perMillisecond))), 16 * KiB, most);
  return {
    value,
    reason: `chunks of ${size(value)}: about what ${rate(link)} carries in 1 ms, so that a fault waits no longer`,
  };
}

function planWindow(destination: NodeResources, memoryBytes: number): Choice<number> {
  const spare = Math.max(0, destination.memoryAvailableBytes - memoryBytes);
  const waits = (destination.pressureSomeAvg10.memory ?? 0) > busyPercent;
  const share = spare / (waits ? 8 : 4) / (destination.activeMigrations + 1);
  // No larger than the container: a cache beyond it would stay empty.
  const wanted = clamp(share, 1 * MiB, clamp(memoryBytes, 16 * MiB, 1 * GiB));
  const value = Math.floor(wanted / MiB) * MiB;
  const pressure = waits
    ? `, halved as tasks wait for memory ${percent(destination.pressureSomeAvg10.memory)} of the time`
    : "";
  return {
    value,
    reason:
      `window of ${size(value)}: ${size(spare)} of the destination's memory are left beside the container${pressure}, ` +
      `shared with ${count(destination.activeMigrations, "other migration")}`,
  };
}

/** Memory that is ahead of its process is here twice for a while, as the process gets it: so half of what is free at most. */
function roomAhead(destination: NodeResources, memoryBytes: number): number {
  const free = destination.memoryAvailableBytes / 2 / (destination.activeMigrations + 1);
  // What it announces when it is looked at may be more than what it had at the time of the plan.
  return Math.floor(clamp(free, 1 * MiB, Math.max(16 * MiB, 1.5 * memoryBytes)) / MiB) * MiB;
}

/** Memory that was sent ahead is confirmed and filled in at this rate (1.1 GB in 1.8 s, two cores being both nodes). */
const confirmedBytesPerSecond = 6e8;
const leastPrecopyBytes = 32 * MiB;

/** Whether memory is sent while the container runs: only then worth it when less than all of it is sent again. */
function planPrecopy({ mode, profile }: PlanInput, link: number | undefined, roomBytes: number): Choice<boolean> {
  const no = (reason: string): Choice<boolean> => ({ value: false, reason: `no pre-copy: ${reason}` });
  if (mode === "post-copy") return no("the mode is post-copy");
  if (profile.memoryBytes < leastPrecopyBytes) return no(`${size(profile.memoryBytes)} of memory follow at once`);
  // All is sent once more often, so what it makes shorter is to be half as long at least.
  if (link !== undefined && link * 2 > confirmedBytesPerSecond)
    return no(`${rate(link)} move memory nearly as fast as it would be confirmed`);
  const speed = link === undefined ? "a link of unknown speed" : rate(link);
  return {
    value: true,
    reason:
      `pre-copy: ${size(profile.memoryBytes)} over ${speed} are sent while the container runs; ` +
      `the destination has room for ${size(roomBytes)}`,
  };
}

/** Cores that the dump and the restore keep busy, on either side; and with them what ships and serves their images. */
const busyInDowntime = 1;
const busyWithImages = 1;
/** What moves and is filled in, two cores being both nodes (1.1 GB in 2.8 s, while it is used). */
const filledBytesPerSecond = 4e8;
/**
 * Memory that follows so soon is better not sent earlier at the cost of dump, images and restore: of 64 MB, where two cores were
 * both nodes, that made the downtime longer by 0.1 s, and the whole shorter by 0.05 s at best.
 */
const soonSeconds = 0.5;

/** Whether memory is sent side by side with the dump: where it does not take processors away from the dump. */
function planEarlyPages(
  { mode, source, destination, profile }: PlanInput,
  link: number | undefined,
  precopy: boolean,
): Choice<boolean> {
  const idle = Math.min(idleCores(source), idleCores(destination));
  if (precopy) return { value: false, reason: "memory that was sent ahead is confirmed after the dump" };
  if (mode === "stop-and-copy")
    return { value: true, reason: "memory is sent from the freeze on: the resume waits for it" };
  const isSoon = profile.memoryBytes / Math.min(link ?? Infinity, filledBytesPerSecond) < soonSeconds;
  if (idle < busyInDowntime + (isSoon ? busyWithImages : 0) + 1) {
    const because = isSoon ? `${size(profile.memoryBytes)} follow soon, and ` : "";
    return {
      value: false,
      reason: `memory is sent from the resume on: ${because}${idle.toFixed(1)} idle cores are left to dump and restore`,
    };
  }
  return { value: true, reason: `memory is sent from the freeze on: ${idle.toFixed(1)} cores are idle` };
}

/** What waits on disk is read and written again at about this rate: over such a link it comes as quickly when there is a place for it. */
const keptBytesPerSecond = 4e8;
const littleKeptBytes = 64 * MiB;

/** How much of the files is sent before the container can be made, for which the image must be there. */
function planAhead({ profile, shipImage }: PlanInput, link: number | undefined): Choice<number> {
  const files = profile.writableLayerBytes + profile.volumeBytes;
  if (!shipImage || files === 0) return { value: 0, reason: "there are no files to come beside the image" };
  const isSlow = link !== undefined && link < keptBytesPerSecond;
  const value = isSlow ? files : Math.min(files, littleKeptBytes);
  const speed = link === undefined ? "a link of unknown speed" : rate(link);
  return {
    value,
    reason: `files beside the image: over ${speed}, ${size(value)} of ${size(files)} wait for it at the destination`,
  };
}

function planCompression(
  source: NodeResources,
  destination: NodeResources,
  link: number | undefined,
): Choice<Plan["compression"]> {
  if (link === undefined)
    return { value: "none", reason: "no compression: the link's speed is unknown, taken as fast" };
  const idle = Math.min(idleCores(source), idleCores(destination));
  if (cpuWaits(source) || cpuWaits(destination) || idle < 1) {
    return { value: "none", reason: `no compression: only ${idle.toFixed(1)} cores are idle at the busier end` };
  }
  const zstd = Math.floor(idle) * zstdBytesPerSecond;
  // It pays only where the CPU outruns the link clearly; memory seldom shrinks to less than half.
  if (link * 2 > zstd)
    return { value: "none", reason: `no compression: ${rate(link)} outruns zstd on ${Math.floor(idle)} idle cores` };
  return { value: "zstd", reason: `zstd: ${rate(link)} is slower than ${Math.floor(idle)} idle cores compress` };
}

function expectedReason({ profile, shipImage, layersPresent }: PlanInput, expectedBytes: number): string {
  const layers =
    layersPresent > 0
      ? `, but for ${layersPresent} of its ${count(profile.imageLayers.length, "layer")}, not sent`
      : "";
  const image = shipImage ? `, image ${size(profile.imageBytes)} (missing at the destination${layers})` : "";
  return (
    `${size(expectedBytes)} expected: memory ${size(profile.memoryBytes)}, writable layer ` +
    `${size(profile.writableLayerBytes)}, volumes ${size(profile.volumeBytes)}${image}`
  );
}

/** What does not rule the migration out, but whoever starts it should know. */
function notes({ profile, source, destination }: PlanInput): string[] {
  const said: string[] = [];
  if (profile.tcpConnections > 0)
    said.push(`${count(profile.tcpConnections, "open TCP connection")} will be closed: clients connect again`);
  if (source.kernel !== destination.kernel)
    said.push(`kernels differ: ${source.kernel} at the source, ${destination.kernel} at the destination`);
  return said;
}
