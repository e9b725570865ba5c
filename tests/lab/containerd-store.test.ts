/** Nodes whose images and layers containerd keeps, as Docker has it by default from 29 on. They are a lab of their own. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { startLab, type Lab } from "../helpers/lab/lab.ts";
import { workloadImage } from "../helpers/lab/workload.ts";
import { execIn, readNodeState, removeContainers } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { startContainer } from "../helpers/workloads.ts";

const derived = "derived:1";
const change = [
  "sh",
  "-ec",
  `mkdir -p /srv/deep && echo new >/srv/deep/new && chown 1234:4321 /srv/deep/new && ln /srv/deep/new /srv/hard
  echo changed >>/etc/debian_version && rm /etc/issue && rm -rf /opt && mkdir /opt && echo opaque >/opt/only && echo kept >/data/file`,
];
const listing = [
  "sh",
  "-c",
  "find /srv/deep /srv/hard /data /opt /etc -xdev -printf '%p %y %m %U:%G %n\\n' | sort; cat /srv/deep/new /etc/debian_version /data/file",
];

describe("nodes with the containerd image store", { timeout: 120_000 }, () => {
  let lab: Lab;
  let user: PlannerUser;

  beforeAll(async () => {
    lab = await startLab({ prefix: "dmigrate-store", env: { DMIGRATE_IMAGE_STORE: "containerd" } });
    user = new PlannerUser(lab.planner);
  }, 120_000);
  afterAll(() => lab.stop());

  const idOf = async (node: Lab["nodes"]["a"], ref: string): Promise<string> =>
    (await node.docker.getImage(ref).inspect()).Id;

  it("move a container there and back, with an image that the other one lacks", async () => {
    const { a, b } = lab.nodes;
    for (const { docker } of [a, b])
      expect(await docker.info()).toMatchObject({ DriverStatus: [["driver-type", "io.containerd.snapshotter.v1"]] });
    const builder = await startContainer(a, "builder", ["sleep", "infinity"]);
    await execIn(builder, ["sh", "-c", "echo built >/usr/local/built"]);
    await builder.commit({ repo: "derived", tag: "1", changes: 'CMD ["sleep", "infinity"]' });
    await builder.remove({ force: true });
    const script = "exec 3>>/srv/log; i=0; while sleep 0.02; do i=$((i+1)); echo $i >&3; echo $i; done";
    const source = await startContainer(a, "files", ["sh", "-c", script], {
      Image: derived,
      HostConfig: { Mounts: [{ Type: "volume", Source: "files-data", Target: "/data" }] },
    });
    await execIn(source, change);
    const expected = await execIn(source, listing);
    const ids = [await idOf(a, derived), await idOf(a, workloadImage)];
    for (const [from, to] of [
      ["a", "b"],
      ["b", "a"],
    ] as const) {
      const { plan } = await user.migrate({ container: "files", from, to });
      expect(plan?.shipImage).toBe(to === "b");
      const moved = lab.nodes[to].docker.getContainer("files");
      expect(await execIn(moved, listing)).toBe(expected);
      expect(await execIn(moved, ["cat", "/usr/local/built"])).toBe("built\n");
      const lines = (await execIn(moved, ["cat", "/srv/log"])).trim().split("\n").map(Number);
      expect(lines).toEqual(lines.map((_, at) => at + 1));
      const { Image, Config } = await moved.inspect();
      expect([Image, Config.Image]).toEqual([ids[0], derived]);
      expect(await idOf(lab.nodes[to], derived)).toBe(ids[0]);
    }
    await removeContainers([a, b]);
  });

  it("ask for those layers of an image that they lack", async () => {
    const { a, b } = lab.nodes;
    for (const { Id } of await b.docker.listImages()) await b.docker.getImage(Id).remove({ force: true });
    await startContainer(a, "base", ["sleep", "infinity"]);
    await user.migrate({ container: "base", from: "a", to: "b" });
    await startContainer(a, "files", ["sleep", "infinity"], { Image: derived });
    const { plan, bytesSent } = await user.migrate({ container: "files", from: "a", to: "b" });
    expect(plan).toMatchObject({ shipImage: true, layersPresent: 1 });
    expect(bytesSent).toBeLessThan(5_000_000);
    expect(await execIn(b.docker.getContainer("files"), ["cat", "/usr/local/built"])).toBe("built\n");
    const listed = ["sh", "-c", `docker save ${derived} | tar -t | sort`];
    const [here, there] = await Promise.all([a, b].map((node) => node.exec(listed)));
    expect(here?.stdout).toContain("blobs/sha256/");
    expect(there?.stdout).toBe(here?.stdout);
    await removeContainers([a, b]);
  });

  it("are as they were after a migration that was cancelled", async () => {
    const { a, b } = lab.nodes;
    await startContainer(a, "files", ["sleep", "infinity"]);
    const before = await Promise.all([a, b].map(readNodeState));
    const { id } = await user.post({ container: "files", from: "a", to: "b" });
    await user.cancel(id);
    expect((await user.waitForEnd(id)).phase).toBe("aborted");
    expect(await Promise.all([a, b].map(readNodeState))).toEqual(before);
    await removeContainers([a, b]);
  });
});
