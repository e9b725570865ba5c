import { describe, expect, it } from "vitest";
import {
  findRefusals,
  undumpable,
  type ContainerFacts,
  type OtherContainer,
} from "../../../services/dumper/core/refusals.ts";

const id = "ab".repeat(32);
const other: OtherContainer = {
  name: "side",
  networkMode: "bridge",
  pidMode: "",
  ipcMode: "private",
  writableVolumes: ["logs"],
  writableBinds: ["/srv/web", "/srv/dir"],
};
const movable: ContainerFacts = {
  id,
  name: "web",
  state: { running: true, paused: false, restarting: false },
  tty: false,
  privileged: false,
  runtime: "runc",
  networkMode: "bridge",
  pidMode: "",
  ipcMode: "private",
  utsMode: "",
  devices: [],
  deviceRequests: [],
  swarmManaged: false,
  usersRemapped: false,
  storageDriver: "overlay2",
  showsLayer: true,
  imagePresent: true,
  mounts: [{ type: "volume", name: "data", target: "/data", driver: "local", options: {} }],
  subpathMounts: [],
  movedBinds: ["/srv/we"],
  inheritedBinds: [],
  links: [],
  execs: [],
  openFiles: ["/data/x", "socket:[1]", "pipe:[2]", "anon_inode:[eventpoll]", "anon_inode:inotify", "/dev/null"],
  watchesUnknownFiles: false,
  namelessFiles: [{ identity: "1:2", bytes: 256 << 20 }],
  others: [other],
};
const volume = { type: "volume", name: "v", target: "/v", driver: "local", options: {} };
const codes = (change: Partial<ContainerFacts>): string[] =>
  findRefusals({ ...movable, ...change }).map(({ code }) => code);

describe("refusals", () => {
  it("has none for an ordinary container", () => {
    expect(findRefusals(movable)).toEqual([]);
  });

  it.each<[string, Partial<ContainerFacts>]>([
    ["not-running", { state: { running: false, paused: false, restarting: false } }],
    ["paused", { state: { running: true, paused: true, restarting: false } }],
    ["restarting", { state: { running: true, paused: false, restarting: true } }],
    ["host-network", { networkMode: "host" }],
    ["container-network", { networkMode: "container:abc" }],
    ["host-pid", { pidMode: "host" }],
    ["container-pid", { pidMode: "container:abc" }],
    ["host-ipc", { ipcMode: "host" }],
    ["container-ipc", { ipcMode: "container:abc" }],
    ["host-uts", { utsMode: "host" }],
    ["privileged", { privileged: true }],
    ["devices", { devices: ["/dev/fuse"] }],
    ["inotify", { watchesUnknownFiles: true }],
    ["nameless-file", { namelessFiles: [{ identity: "1:2", bytes: (256 << 20) + 1 }] }],
    ["volume-subpath", { subpathMounts: ["/data/part"] }],
    ["links", { links: ["/db:/web/db"] }],
    ["volumes-from", { inheritedBinds: ["/conf"] }],
    ["device-requests", { deviceRequests: ["gpu"] }],
    ["userns-remap", { usersRemapped: true }],
    ["swarm", { swarmManaged: true }],
    ["runtime", { runtime: "runsc" }],
    ["storage-driver", { storageDriver: "btrfs", showsLayer: false }],
    ["image-missing", { imagePresent: false }],
    ["volume-driver", { mounts: [{ ...volume, driver: "nfs" }] }],
    ["volume-options", { mounts: [{ ...volume, options: { type: "nfs", device: ":/x", o: "addr=1.2.3.4" } }] }],
    ["mount-type", { mounts: [{ ...volume, type: "image" }] }],
    ["volume-shared", { others: [{ ...other, writableVolumes: ["logs", "data"] }] }],
    ["bind-shared", { movedBinds: ["/srv/web"] }],
    ["bind-shared", { movedBinds: ["/srv/dir/below"] }],
    ["bind-shared", { movedBinds: ["/srv"] }],
    ["namespace-shared", { others: [{ ...other, networkMode: `container:${id}` }] }],
    ["namespace-shared", { others: [{ ...other, networkMode: `container:${id.slice(0, 12)}` }] }],
    ["namespace-shared", { others: [{ ...other, ipcMode: "container:web" }] }],
    ["namespace-shared", { others: [{ ...other, pidMode: "container:web" }] }],
    ["tty", { tty: true }],
    ["exec-running", { execs: ["sh"] }],
    ["io-uring", { openFiles: ["anon_inode:[io_uring]"] }],
    ["open-file", { openFiles: ["anon_inode:[userfaultfd]"] }],
  ])("refuses: %s", (code, change) => {
    expect(codes(change)).toEqual([code]);
  });

  it("gives all reasons at once, and each kind of open file once", () => {
    const openFiles = ["anon_inode:[io_uring]", "anon_inode:[io_uring]"];
    expect(codes({ networkMode: "host", privileged: true, tty: true, openFiles })).toEqual([
      "host-network",
      "privileged",
      "tty",
      "io-uring",
    ]);
  });

  it("lets others share among themselves, and mount binds of that name", () => {
    const others = [
      { ...other, networkMode: "container:ab", pidMode: "container:web2", ipcMode: `container:${"cd".repeat(32)}` },
      { ...other, name: "ab" },
    ];
    expect(codes({ others })).toEqual([]);
    const bind = { ...volume, type: "bind", name: "logs" };
    expect(codes({ mounts: [bind] })).toEqual([]);
  });

  it("names who shares what", () => {
    const modes = { networkMode: "container:web", pidMode: "container:web", ipcMode: "container:web" };
    const others = [{ ...other, ...modes, writableVolumes: ["data", "data"] }];
    const [volumes, namespaces] = findRefusals({ ...movable, others }).map(({ message }) => message);
    expect(volumes).toMatch(/^side .*volume data of web.*stop side/);
    expect(namespaces).toMatch(/^side .*of web \(--network, --pid, --ipc container:web\).*stop side/);
  });

  it("names the container and what to do", () => {
    expect(findRefusals({ ...movable, execs: ["redis-cli monitor"] })[0]?.message).toMatch(
      /web \(redis-cli monitor\).*end them/,
    );
  });
});

describe("undumpable", () => {
  it("passes what CRIU dumps", () => {
    const links = ["/x", "socket:[1]", "anon_inode:[eventfd]", "anon_inode:[timerfd]", "anon_inode:bpf-map"];
    expect(links.map(undumpable)).toEqual(links.map(() => undefined));
  });
  it("names what it does not", () => {
    expect(undumpable("anon_inode:[perf_event]")).toBe("perf_event");
    expect(undumpable("anon_inode:kvm-vm")).toBe("kvm-vm");
  });
});
