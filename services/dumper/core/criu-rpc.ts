/**
 * The dump request of CRIU's RPC and its answer (images/rpc.proto of CRIU). The few fields that we use; every other
 * option keeps CRIU's default.
 */
import { mostGhostBytes } from "./refusals.ts";
import protobuf from "protobufjs";

export interface DumpRequest {
  imagesDir: string;
  /** A descriptor of ours: CRIU opens it through /proc. */
  workDirFd: number;
  /** Host pid of the container's first process. */
  pid: number;
  rootfs: string;
  freezerDir?: string;
  /** Mounts that the restore brings by itself: the mount point, and the name by which it knows it. */
  externalMounts: { mountPoint: string; name: string }[];
  /** Namespaces that the restore brings by itself, as `net[INODE]:NAME`. */
  externalNamespaces: string[];
  /** For what RPC has no field for. */
  configFile: string;
}

export interface DumpAnswer {
  success: boolean;
  /** Positive errno, 0 when CRIU gives none. */
  errno: number;
  message: string;
}

type FieldSpec = readonly [id: number, type: string, repeated?: "repeated"];

function message(root: protobuf.Root, name: string, fields: Record<string, FieldSpec>): protobuf.Type {
  const type = new protobuf.Type(name);
  for (const [field, [id, fieldType, rule]] of Object.entries(fields))
    type.add(new protobuf.Field(field, id, fieldType, rule));
  root.add(type);
  return type;
}

const root = new protobuf.Root();
message(root, "ExtMountMap", { key: [1, "string"], val: [2, "string"] });
message(root, "CriuOpts", {
  imagesDirFd: [1, "int32"],
  pid: [2, "int32"],
  leaveRunning: [3, "bool"],
  tcpEstablished: [5, "bool"],
  fileLocks: [8, "bool"],
  logLevel: [9, "int32"],
  logFile: [10, "string"],
  root: [13, "string"],
  workDirFd: [17, "int32"],
  extMnt: [23, "ExtMountMap", "repeated"],
  manageCgroups: [24, "bool"],
  ghostLimit: [35, "uint32"],
  external: [37, "string", "repeated"],
  emptyNs: [38, "uint32"],
  freezeCgroup: [44, "string"],
  tcpSkipInFlight: [46, "bool"],
  lazyPages: [48, "bool"],
  orphanPtsMaster: [50, "bool"],
  configFile: [51, "string"],
  networkLock: [64, "int32"],
  imagesDir: [68, "string"],
});
const request = message(root, "CriuReq", { type: [1, "int32"], opts: [2, "CriuOpts"] });
const response = message(root, "CriuResp", {
  type: [1, "int32"],
  success: [2, "bool"],
  errno: [7, "int32"],
  message: [9, "string"],
});
// Compiled now: the first use is inside a migration's downtime.
root.resolveAll();
[request, response].forEach((type) => type.setup());

const dumpType = 1;
const skipNetworkLock = 3;
const networkNamespace = 0x40000000;
/** Errors and warnings: lines of more would be written inside the downtime. */
const warnings = 2;

/** CRIU's log, in the work directory. */
export const dumpLogName = "dump.log";

/**
 * - leave running: CRIU gives registers, sockets and network back as they were, whatever ends it.
 * - network lock skipped: it would be taken off again before we are told, and costs a tenth of a second.
 * - connections waiting in a listener's queue are dropped like all others; CRIU would else refuse the whole dump.
 * - file locks: a database holds some, and without this CRIU refuses them inside the freeze.
 * - the network namespace's inside is made anew by whoever restores, as with runc.
 */
export function encodeDumpRequest(dump: DumpRequest): Buffer {
  const opts = {
    imagesDirFd: -1,
    imagesDir: dump.imagesDir,
    workDirFd: dump.workDirFd,
    pid: dump.pid,
    root: dump.rootfs,
    leaveRunning: true,
    tcpEstablished: true,
    tcpSkipInFlight: true,
    fileLocks: true,
    ghostLimit: mostGhostBytes,
    logLevel: warnings,
    logFile: dumpLogName,
    manageCgroups: true,
    emptyNs: networkNamespace,
    lazyPages: true,
    orphanPtsMaster: true,
    networkLock: skipNetworkLock,
    extMnt: dump.externalMounts.map(({ mountPoint, name }) => ({ key: mountPoint, val: name })),
    external: dump.externalNamespaces,
    configFile: dump.configFile,
    ...(dump.freezerDir !== undefined && { freezeCgroup: dump.freezerDir }),
  };
  return Buffer.from(request.encode(request.fromObject({ type: dumpType, opts })).finish());
}

/** Throws a plain error when the bytes are no answer to a dump. */
export function decodeDumpAnswer(bytes: Uint8Array): DumpAnswer {
  const { type, success, errno, message } = response.decode(bytes) as unknown as DumpAnswer & { type: number };
  if (type !== dumpType) throw new Error(`CRIU answered a request of type ${type}, not the dump`);
  return { success, errno, message };
}
