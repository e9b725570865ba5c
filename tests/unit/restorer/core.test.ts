import { expect, test } from "vitest";
import { firstCriuError, runtimeFailure } from "../../../services/restorer/core/failure-text.ts";
import { listeningPorts } from "../../../services/restorer/core/listening.ts";
import { externalNetworkImage, networkImageName } from "../../../services/restorer/core/network-image.ts";
import { toRestore, transition, type RestoreRecord } from "../../../services/restorer/core/record.ts";

test("the first error of CRIU's log that matters", () => {
  const log = [
    "(00.000001) Version: 4.2",
    "(00.000002) Error (criu/util.c:1): rlimit: Can't setup RLIMIT_NOFILE for self: Operation not permitted",
    "(00.000003)      1: Error (criu/files-reg.c:1): Can't open file data/x on restore",
    "(00.000004) Error (criu/cr-restore.c:2): Restoring FAILED.",
  ].join("\n");
  expect(firstCriuError(log)).toBe("1: Error (criu/files-reg.c:1): Can't open file data/x on restore");
  expect(firstCriuError("(00.1) all well")).toBeUndefined();
});

test("the runtime's own words, without Docker's around them", () => {
  const text =
    "starting x: (HTTP code 400) unexpected - failed to create task for container: failed to create shim task: " +
    "OCI runtime create failed: criu failed: type NOTIFY: unknown ";
  expect(runtimeFailure(text)).toBe("criu failed: type NOTIFY");
  expect(runtimeFailure("connection refused")).toBe("connection refused");
});

test("listeners of /proc/net, and nothing else", () => {
  const table = [
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
    "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0",
    "   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0",
    "   2: 0100007F:1F91 0100007F:0050 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0",
  ].join("\n");
  expect(listeningPorts(table, "tcp")).toEqual([
    { ip: "127.0.0.1", port: 8080, protocol: "tcp" },
    { ip: "", port: 80, protocol: "tcp" },
  ]);
  expect(listeningPorts(table, "udp")).toEqual([]);
});

test("the network image is named by the root task's ids", () => {
  // task_kobj_ids_entry with vm_id 1, files_id 1, fs_id 1, sighand_id 1, pid_ns_id 9, net_ns_id 10
  const message = Buffer.from([0x08, 1, 0x10, 1, 0x18, 1, 0x20, 1, 0x28, 9, 0x30, 10]);
  const image = Buffer.concat([
    Buffer.from([0x19, 0x43, 0x56, 0x54, 0x30, 0x20, 0x43, 0x54, message.length, 0, 0, 0]),
    message,
  ]);
  expect(networkImageName(image)).toBe("netns-10.img");
  const hostNetwork = Buffer.from(image.subarray(0, -2));
  hostNetwork.writeUInt32LE(message.length - 2, 8);
  expect(networkImageName(hostNetwork)).toBeUndefined();
  expect(() => networkImageName(image.subarray(0, 15))).toThrow("cut short");
});

test("the image of an external network names runc's key", () => {
  expect(externalNetworkImage().toString("latin1")).toBe(
    "\x19\x43\x56\x54\x52\x37\x93\x55\x0e\x00\x00\x00\x42\x0cextRootNetNS",
  );
});

test("a restore can be given up until it is proven to run, and never after", () => {
  expect(transition("preparing", "wrapper-waits")).toBe("waiting");
  expect(transition("waiting", "let-go")).toBe("resuming");
  for (const state of ["preparing", "waiting", "resuming"] as const)
    expect(transition(state, "given-up")).toBe("failed");
  for (const state of ["resumed", "finished"] as const) expect(transition(state, "given-up")).toBeUndefined();
  for (const state of ["resuming", "resumed", "failed"] as const) expect(transition(state, "let-go")).toBeUndefined();
});

test("a restore is shown once there is a container that waits", () => {
  const record: RestoreRecord = {
    migrationId: "m-0123456789abcdef",
    name: "db",
    state: "preparing",
    containerId: "a".repeat(64),
    createdVolumes: ["v"],
    filledBinds: [],
    autoRemove: false,
  };
  expect(toRestore(record)).toBeUndefined();
  expect(toRestore({ ...record, state: "waiting", prepareMs: 5 })).toEqual({
    migrationId: record.migrationId,
    containerId: record.containerId,
    state: "waiting",
    prepareMs: 5,
  });
});
