import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import type Docker from "dockerode";
import { afterEach, expect, test, vi } from "vitest";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";
import { ImageLoad, parseTag } from "../../../services/shipper/adapters/image.ts";

test.each([
  ["redis", { repo: "redis", tag: "latest" }],
  ["redis:7", { repo: "redis", tag: "7" }],
  ["registry.example:5000/team/app", { repo: "registry.example:5000/team/app", tag: "latest" }],
  ["registry.example:5000/team/app:1.2", { repo: "registry.example:5000/team/app", tag: "1.2" }],
  [`redis@sha256:${"0".repeat(64)}`, undefined],
  [`sha256:${"0".repeat(64)}`, undefined],
  ["3bcdf516b3c7", undefined],
  ["", undefined],
])("the tag of %j", (ref, tag) => {
  expect(parseTag(ref)).toEqual(tag);
});

afterEach(() => vi.unstubAllEnvs());

/** Loads an image of which a layer was left out, on a node that has none of its layers. Answers what was removed. */
async function loadPart(imagesBefore: string[]): Promise<string[]> {
  const directory = temporaryDirectory("ctr-");
  writeFileSync(join(directory, "ctr"), "#!/bin/sh\n", { mode: 0o755 });
  vi.stubEnv("PATH", `${directory}:${process.env["PATH"] ?? ""}`);
  const removed: string[] = [];
  const docker = {
    info: () =>
      Promise.resolve({ DockerRootDir: "/", DriverStatus: [["driver-type", "io.containerd.snapshotter.v1"]] }),
    listImages: () => Promise.resolve(imagesBefore.map((Id) => ({ Id }))),
    loadImage: () => Promise.resolve(Readable.from(["{}"])),
    getImage: (id: string) => ({
      inspect: () => Promise.resolve({ Id: id }),
      remove: () => Promise.resolve(removed.push(id)),
    }),
  };
  const spec = { kind: "image", imageId, imageRef: "derived:1", layersLeftOut: [`sha256:${"1".repeat(64)}`] } as const;
  const load = new ImageLoad(docker as unknown as Docker, { ...spec, layersLeftOut: [...spec.layersLeftOut] });
  await expect(load.finish()).rejects.toThrow("layers of image derived:1 were removed from this node");
  return removed;
}
const imageId = `sha256:${"a".repeat(64)}`;

test("an image whose layers have gone meanwhile is taken away again", async () => {
  expect(await loadPart([])).toEqual([imageId]);
});

test("one that was there before stays, whatever the source says of its layers", async () => {
  expect(await loadPart([imageId])).toEqual([]);
});
