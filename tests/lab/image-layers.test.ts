/** Of an image that the destination lacks, only those layers are sent that no other image there has. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectLab } from "../helpers/lab/connect.ts";
import { workloadImage } from "../helpers/lab/workload.ts";
import { execIn, removeContainers } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { startContainer } from "../helpers/workloads.ts";

const derived = "derived:1";
const MB = 1_000_000;

describe("an image built upon another", () => {
  const lab = connectLab();
  const { a, b } = lab.nodes;
  const user = new PlannerUser(lab.planner);

  const removeImages = async (): Promise<void> => {
    for (const { Id } of await b.docker.listImages()) await b.docker.getImage(Id).remove({ force: true });
  };

  beforeAll(async () => {
    const builder = await startContainer(a, "builder", ["sleep", "infinity"]);
    await execIn(builder, ["sh", "-c", "echo built >/srv/built; rm -r /usr/share/base-files"]);
    const changes = 'CMD ["sleep", "infinity"]';
    await builder.commit({ repo: "derived", tag: "1", changes });
    await builder.remove({ force: true });
    await removeImages();
  });
  afterAll(async () => {
    await removeContainers([a, b]);
    await removeImages();
    await a.docker.getImage(derived).remove();
  });

  const migrate = async (): Promise<{ bytes: number; layersPresent: number | undefined }> => {
    await removeContainers([a, b]);
    await startContainer(a, "derived", ["sleep", "infinity"], { Image: derived });
    const { bytesSent, plan } = await user.migrate({ container: "derived", from: "a", to: "b" });
    const container = b.docker.getContainer("derived");
    expect(await execIn(container, ["cat", "/srv/built"])).toBe("built\n");
    expect(await execIn(container, ["sh", "-c", "ls -d /usr/share/base-files || :"])).toContain("cannot access");
    const [here, there] = await Promise.all([a, b].map(({ docker }) => docker.getImage(derived).inspect()));
    expect(there?.RootFS).toEqual(here?.RootFS);
    return { bytes: bytesSent, layersPresent: plan?.layersPresent };
  };

  it("is sent whole where there is nothing of it", async () => {
    const { bytes, layersPresent } = await migrate();
    expect(layersPresent).toBe(0);
    expect(bytes).toBeGreaterThan(20 * MB);
  });

  it("is sent without what another image has", async () => {
    await removeContainers([a, b]);
    await removeImages();
    await lab.loadWorkload(b);
    const { RootFS } = await b.docker.getImage(workloadImage).inspect();
    const { bytes, layersPresent } = await migrate();
    expect(layersPresent).toBe(RootFS.Layers?.length);
    expect(bytes).toBeLessThan(5 * MB);
  });
});
