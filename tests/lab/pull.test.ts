/** A missing image comes from a registry where the operator allows it. The nodes are a lab of their own: one runs a registry. */
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ensureImage } from "../helpers/lab/image-build.ts";
import { startLab, type Lab } from "../helpers/lab/lab.ts";
import { execIn, removeContainers } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { startContainer } from "../helpers/workloads.ts";

const registry = "registry.lab:5000";
const repo = `${registry}/team/derived`;
const image = `${repo}:1`;
const MB = 1_000_000;

const serveRegistry = [
  "sh",
  "-c",
  `printf 'version: 0.1\\nstorage: {filesystem: {rootdirectory: /srv/registry}, delete: {enabled: true}}\\nhttp: {addr: ":5000"}\\n' >/srv/registry.yml
  docker-registry serve /srv/registry.yml >/srv/registry.log 2>&1 & echo $! >/srv/registry.pid`,
];

describe.each(["docker", "containerd"])("an image in a registry, kept by %s", { timeout: 180_000 }, (store) => {
  let lab: Lab;
  let user: PlannerUser;

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
    await a.exec(serveRegistry);
    const builder = await startContainer(a, "builder", ["sleep", "infinity"]);
    await execIn(builder, ["sh", "-c", "echo built >/srv/built"]);
    await builder.commit({ repo, tag: "1", changes: 'CMD ["sleep", "infinity"]' });
    await builder.remove({ force: true });
    const push = await a.exec([
      "sh",
      "-c",
      `for n in 1 2 3 4 5; do docker push ${image} && exit; sleep 1; done; exit 1`,
    ]);
    expect(push.exitCode, push.stderr).toBe(0);
  }, 180_000);
  afterAll(() => lab.stop());

  beforeEach(async () => {
    const { a, b } = lab.nodes;
    await removeContainers([a, b]);
    for (const { Id } of await b.docker.listImages()) await b.docker.getImage(Id).remove({ force: true });
    await startContainer(a, "derived", ["sleep", "infinity"], { Image: image });
  });

  const migrated = async () => {
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
    await lab.nodes.a.exec(["sh", "-c", "kill $(cat /srv/registry.pid)"]);
    const { bytesSent } = await migrated();
    expect(bytesSent).toBeGreaterThan(20 * MB);
    await lab.nodes.a.exec(serveRegistry);
  });
});
