/**
 * Of an image that the destination lacks, only those layers are sent that no other image there has, side by side with the
 * container's files.
 */
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { connectLab } from "../helpers/lab/connect.ts";
import { workloadImage } from "../helpers/lab/workload.ts";
import { execIn, removeContainers } from "../helpers/node-state.ts";
import type { ReceivedSpan } from "../helpers/otlp-receiver.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { pollUntil } from "../helpers/poll-until.ts";
import { startContainer } from "../helpers/workloads.ts";

const derived = "derived:1";
const MB = 1_000_000;
const fill = "head -c 20000000 /dev/urandom >/srv/layer; head -c 20000000 /dev/urandom >/data/volume";
const digest = ["sha256sum", "/srv/layer", "/data/volume"];

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

  const migrate = async (): Promise<{ bytes: number; layersPresent: number | undefined; traceId: string }> => {
    await removeContainers([a, b]);
    const Mounts = [{ Type: "volume", Source: "derived-data", Target: "/data" }] as const;
    const source = await startContainer(a, "derived", ["sleep", "infinity"], {
      Image: derived,
      HostConfig: { Mounts: [...Mounts] },
    });
    await execIn(source, ["sh", "-c", fill]);
    const expected = await execIn(source, digest);
    const { bytesSent, plan, traceId = "" } = await user.migrate({ container: "derived", from: "a", to: "b" });
    const container = b.docker.getContainer("derived");
    expect(await execIn(container, digest)).toBe(expected);
    expect(await execIn(container, ["cat", "/srv/built"])).toBe("built\n");
    expect(await execIn(container, ["sh", "-c", "ls -d /usr/share/base-files || :"])).toContain("cannot access");
    const [here, there] = await Promise.all([a, b].map(({ docker }) => docker.getImage(derived).inspect()));
    expect(there?.RootFS).toEqual(here?.RootFS);
    return { bytes: bytesSent - 40 * MB, layersPresent: plan?.layersPresent, traceId };
  };

  it("is sent whole where there is nothing of it, and the container's files do not wait for it", async () => {
    const { bytes, layersPresent, traceId } = await migrate();
    expect(layersPresent).toBe(0);
    expect(bytes).toBeGreaterThan(20 * MB);
    const [image, files] = await pollUntil("the spans of the transfer", 20_000, async () => {
      const answer = await fetch(`http://127.0.0.1:${inject("otlpPort")}/spans`);
      const spans = ((await answer.json()) as ReceivedSpan[]).filter((span) => span.traceId === traceId);
      const found = ["ship image", "send files"].map((name) => spans.find((span) => span.name === name));
      return found.every((span) => span !== undefined) ? found : undefined;
    });
    expect(files?.startMs).toBeLessThan(image?.endMs ?? 0);
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
