/** A missing image comes from a registry where the operator allows it. The nodes are labs of their own: node a runs the registry. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Migration } from "../../services/shared/contracts/planner.ts";
import { ensureImage } from "../helpers/lab/image-build.ts";
import { startLab, type Lab } from "../helpers/lab/lab.ts";
import { pushIndex, registry, startRegistry, stopRegistry } from "../helpers/lab/registry.ts";
import { execIn, removeContainers } from "../helpers/node-state.ts";
import { pollUntil } from "../helpers/poll-until.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { startContainer } from "../helpers/workloads.ts";

const repo = `${registry}/team/derived`;
const MB = 1_000_000;

describe.each([
  // What most public images are, containerd knows by the id of all their platforms.
  ["docker", "one"],
  ["containerd", "many"],
])("an image in a registry, where %s keeps images", { timeout: 180_000 }, (store, tag) => {
  let lab: Lab;
  let user: PlannerUser;
  const image = `${repo}:${tag}`;

  beforeAll(async () => {
    lab = await startLab({
      prefix: "dmigrate-pull",
      env: {
        DMIGRATE_IMAGE_STORE: store,
        DMIGRATE_DOCKERD_ARGS: `--insecure-registry=${registry}`,
        DMIGRATE_PULL_FROM: registry,
      },
      extendNode: (context, outer, node) =>
        ensureImage(context, outer, {
          name: "dmigrate-registry-node",
          root: `${import.meta.dirname}/../helpers/lab`,
          dockerfile: "registry-node.Dockerfile",
          paths: [],
          buildArgs: { NODE: node },
        }),
    });
    user = new PlannerUser(lab.planner);
    const { a, b } = lab.nodes;
    for (const node of [a, b]) await node.exec(["sh", "-c", `echo "${a.ip} registry.lab" >>/etc/hosts`]);
    await startRegistry(a);
    const builder = await startContainer(a, "builder", ["sleep", "infinity"]);
    await execIn(builder, ["sh", "-c", "echo built >/srv/built"]);
    await builder.commit({ repo, tag: "one", changes: 'CMD ["sleep", "infinity"]' });
    await builder.remove({ force: true });
    // dockerd has looked the name up when it started, and looks into /etc/hosts again after some seconds.
    await pollUntil("the registry's name", 30_000, async () => {
      const push = await a.exec(["docker", "push", "-q", `${repo}:one`]);
      if (push.exitCode === 0) return true;
      if (!push.stderr.includes("no such host")) throw new Error(push.stderr);
      return undefined;
    });
    await pushIndex(a, "team/derived", "one", "many");
    const pull = await a.exec(["docker", "pull", "-q", image]);
    expect(pull.exitCode, pull.stderr).toBe(0);
    // The first migration measures the link, and counts what that sends.
    await startContainer(a, "derived", ["sleep", "infinity"], { Image: image });
    await migrated();
  }, 180_000);
  afterAll(() => lab.stop());

  beforeEach(async () => {
    const { a, b } = lab.nodes;
    await removeContainers([a, b]);
    for (const { Id } of await b.docker.listImages()) await b.docker.getImage(Id).remove({ force: true });
    await startContainer(a, "derived", ["sleep", "infinity"], { Image: image });
  });

  const migrated = async (): Promise<Migration> => {
    const migration = await user.migrate({ container: "derived", from: "a", to: "b" });
    const { a, b } = lab.nodes;
    expect(await execIn(b.docker.getContainer("derived"), ["cat", "/srv/built"])).toBe("built\n");
    const [here, there] = await Promise.all([a, b].map(({ docker }) => docker.getImage(image).inspect()));
    expect(there?.Id).toBe(here?.Id);
    return migration;
  };

  it("is pulled, and not sent", async () => {
    const { plan, bytesSent } = await migrated();
    expect(plan?.pull).toMatch(/^registry\.lab:5000\/team\/derived@sha256:/);
    expect(plan?.reasons.some((reason) => reason.startsWith("image is pulled as"))).toBe(true);
    expect(bytesSent).toBeLessThan(20 * MB);
  });

  it("is sent when the registry has gone", async () => {
    await stopRegistry(lab.nodes.a);
    const { bytesSent } = await migrated();
    expect(bytesSent).toBeGreaterThan(20 * MB);
  });
});
