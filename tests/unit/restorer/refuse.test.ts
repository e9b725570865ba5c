import { limitFacts } from "../../helpers/limit-facts.ts";
import { expect, test } from "vitest";
import type { ContainerSpec } from "../../../services/shared/contracts/container.ts";
import {
  publishedPorts,
  refuse,
  type NodeFacts,
  type PresentContainer,
} from "../../../services/restorer/core/refuse.ts";

const id = (digit: string): string => digit.repeat(64);
const container = (changes: Partial<PresentContainer>): PresentContainer => ({
  id: id("1"),
  name: "other",
  running: true,
  ports: [],
  volumes: [],
  networks: [],
  binds: [],
  ...changes,
});
const spec = (changes: Partial<ContainerSpec> = {}): ContainerSpec => ({
  name: "db",
  imageId: `sha256:${id("a")}`,
  imageRef: "redis",
  config: {},
  hostConfig: {},
  volumes: [],
  networks: [],
  ...changes,
});
const codes = (changes: Partial<ContainerSpec> = {}, facts: Partial<NodeFacts> = {}, replaces?: string): string[] =>
  refuse(
    spec(changes),
    replaces,
    {
      dockerMajor: 28,
      runtimes: ["runc", "dmigrate"],
      containers: [],
      networks: new Map([["bridge", "bridge"]]),
      volumes: [],
      binds: [],
      absentShares: [],
      listening: [],
      appArmorProfiles: undefined,
      seccomp: true,
      ...limitFacts,
      ...facts,
    },
    "dmigrate",
  ).map(({ code }) => code);

test("an ordinary container may come", () => expect(codes()).toEqual([]));

test("every reason is given at once", () => {
  const found = codes(
    { config: { Tty: true }, networks: [{ name: "n", driver: "bridge", aliases: [] }] },
    { runtimes: ["runc"], containers: [container({ name: "db" })] },
  );
  expect(found).toEqual(["no-runtime", "terminal", "name-taken", "network"]);
});

test("the leftover of an earlier migration may have the name, unless it runs", () => {
  const leftover = container({ name: "db", running: false });
  expect(codes({}, { containers: [leftover] }, leftover.id)).toEqual([]);
  expect(codes({}, { containers: [leftover] })).toEqual(["name-taken"]);
  expect(codes({}, { containers: [{ ...leftover, running: true }] }, leftover.id)).toEqual(["replaced-runs"]);
});

const ports = (HostIp: string, HostPort: string) => ({
  hostConfig: { PortBindings: { "80/tcp": [{ HostIp, HostPort }] } },
});
test.each([
  ["the same address", "10.0.0.1", "10.0.0.1", ["port-taken"]],
  ["all addresses", "10.0.0.1", "0.0.0.0", ["port-taken"]],
  ["another address", "10.0.0.1", "10.0.0.2", []],
])("a port in use on %s", (_case, wanted, used, expected) => {
  const user = container({ ports: [{ ip: used, port: 8080, protocol: "tcp" }] });
  expect(codes(ports(wanted, "8080"), { containers: [user] })).toEqual(expected);
  expect(codes(ports(wanted, "8080"), { containers: [{ ...user, running: false }] })).toEqual([]);
});

test("a port that a process listens on, of the same protocol", () => {
  const listening = [{ ip: "", port: 8080, protocol: "udp" }];
  expect(codes(ports("", "8080"), { listening })).toEqual([]);
  expect(codes(ports("", "8080"), { listening: [{ ip: "", port: 8080, protocol: "tcp" }] })).toEqual(["port-taken"]);
});

test("ports that Docker chooses are nobody's", () => {
  expect(publishedPorts({ "80/tcp": [{ HostIp: "", HostPort: "" }], "81/tcp": null })).toEqual([]);
  expect(publishedPorts({ "80/tcp": [{ HostIp: "", HostPort: "8000-8010" }] })).toEqual([]);
});

const volume = { name: "v", target: "/v", readOnly: false, driver: "local", labels: {}, options: {} };
const volumes = [volume];
const plain = { name: "v", path: "/v", empty: true, driver: "local", options: {} };
test("a volume with data is kept, unless it is the leftover's alone", () => {
  const present = [{ ...plain, empty: false }];
  const leftover = container({ id: id("2"), name: "db", running: false, volumes: ["v"] });
  expect(codes({ volumes }, { volumes: [plain] })).toEqual([]);
  expect(codes({ volumes }, { volumes: present })).toEqual(["volume-exists"]);
  expect(codes({ volumes }, { volumes: present, containers: [leftover] }, leftover.id)).toEqual([]);
  const sharing = container({ running: false, volumes: ["v"] });
  expect(codes({ volumes }, { volumes: present, containers: [leftover, sharing] }, leftover.id)).toEqual([
    "volume-in-use",
  ]);
});

test.each([
  ["another driver", { driver: "nfs" }],
  ["a device", { options: { device: "/dev/sdb1" } }],
  ["a type", { options: { type: "nfs" } }],
  ["mount options", { options: { o: "addr=10.0.0.1" } }],
])("a volume with %s is kept, even the leftover's: whether it is empty cannot be seen", (_what, changes) => {
  const present = [{ ...plain, ...changes }];
  const leftover = container({ id: id("2"), name: "db", running: false, volumes: ["v"] });
  expect(codes({ volumes }, { volumes: present })).toEqual(["volume-exists"]);
  expect(codes({ volumes }, { volumes: present, containers: [leftover] }, leftover.id)).toEqual(["volume-exists"]);
});

test("a volume with a limit of its size is a plain one", () => {
  expect(codes({ volumes }, { volumes: [{ ...plain, options: { size: "1g" } }] })).toEqual([]);
});

test("a volume of another driver does not move", () => {
  expect(codes({ volumes: [{ ...volume, driver: "nfs" }] })).toEqual(["volume-driver"]);
});

test("a network of another driver is another network", () => {
  const networks = [{ name: "n", driver: "macvlan", aliases: [] }];
  expect(codes({ networks }, { networks: new Map([["n", "bridge"]]) })).toEqual(["network"]);
  expect(codes({ networks }, { networks: new Map([["n", "macvlan"]]) })).toEqual([]);
});

test("profiles must be there", () => {
  const hostConfig = { SecurityOpt: ["apparmor=mine", "seccomp={}"] };
  expect(codes({ hostConfig }, { appArmorProfiles: ["mine"] })).toEqual([]);
  expect(codes({ hostConfig }, { appArmorProfiles: ["docker-default"], seccomp: false })).toEqual([
    "apparmor",
    "seccomp",
  ]);
  expect(codes({ hostConfig: { SecurityOpt: ["apparmor=unconfined", "seccomp:unconfined"] } })).toEqual([]);
});

test("a bind mount comes only to a directory that is free, or that the replaced container alone had", () => {
  const at = (is: "absent" | "empty" | "filled" | "no-directory"): Partial<NodeFacts> => ({
    binds: [{ path: "/srv/d", is }],
  });
  expect(codes({}, at("absent"))).toEqual([]);
  expect(codes({}, at("empty"))).toEqual([]);
  expect(codes({}, at("filled"))).toEqual(["bind-exists"]);
  expect(codes({}, at("no-directory"))).toEqual(["bind-exists"]);
  const leftover = container({ name: "db", running: false, binds: [{ path: "/srv/d", writable: true }] });
  const other = container({ id: id("2"), binds: [{ path: "/srv/d", writable: false }] });
  expect(codes({}, { ...at("filled"), containers: [leftover] }, leftover.id)).toEqual([]);
  expect(codes({}, { ...at("filled"), containers: [leftover, other] }, leftover.id)).toEqual(["bind-in-use"]);
  expect(codes({}, { ...at("empty"), containers: [other] })).toEqual(["bind-in-use"]);
});

test.each<[string, boolean, string[]]>([
  ["/srv", true, ["bind-in-use"]],
  ["/", true, []],
  ["/srv/d/below", true, ["bind-in-use"]],
  ["/srv", false, []],
  ["/srv/dd", true, []],
  ["/srv/other", true, []],
])("a bind mount does not come where a container may write, above or below it: %s, %s", (path, writable, expected) => {
  const other = container({ id: id("2"), running: false, binds: [{ path, writable }] });
  expect(codes({}, { binds: [{ path: "/srv/d", is: "empty" }], containers: [other] })).toEqual(expected);
});

test("storage that both nodes are said to see must be here", () => {
  expect(codes({}, { absentShares: ["/mnt/nfs/a", "/mnt/nfs/b"] })).toEqual(["shared-path", "shared-path"]);
});

test("networks, limits and the version of Docker are looked at too", () => {
  const networks = [
    { name: "n", driver: "bridge", aliases: [], links: ["db2:db"], gatewayPriority: 1 },
    { name: "m", driver: "bridge", aliases: [] },
  ];
  const found = new Map(["n", "m"].map((name) => [name, "bridge"]));
  const hostConfig = { NanoCpus: 5e9 };
  expect(codes({ networks, hostConfig }, { networks: found, dockerMajor: 26 })).toEqual([
    "links",
    "docker-too-old",
    "cpus",
  ]);
  const linked = container({ name: "db2", networks: ["n"] });
  expect(codes({ networks }, { networks: found, containers: [linked] })).toEqual([]);
});
