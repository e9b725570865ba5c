/** With a script in ctr's place. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { DockerInfo } from "../../../services/shared/adapters/docker.ts";
import { layerBlobs, presentBlobs } from "../../../services/shared/adapters/image-blobs.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";

const digest = (letter: string): string => `sha256:${letter.repeat(64)}`;
const [index, one, other, missing] = ["a", "b", "c", "d"].map(digest) as [string, string, string, string];
const [low, high, top] = ["1", "2", "3"].map(digest) as [string, string, string];
const containerd: DockerInfo = {
  ServerVersion: "28.0.0",
  Driver: "overlayfs",
  DriverStatus: [["driver-type", "io.containerd.snapshotter.v1"]],
  DockerRootDir: "/var/lib/docker",
};

let directory: string;
beforeEach(() => {
  directory = temporaryDirectory("ctr-");
  vi.stubEnv("PATH", `${directory}:${process.env["PATH"] ?? ""}`);
});
afterEach(() => vi.unstubAllEnvs());

const becomeCtr = (script: string): void =>
  writeFileSync(join(directory, "ctr"), `#!/bin/sh\n${script}`, { mode: 0o755 });
const layers = (...digests: string[]): string => JSON.stringify({ layers: digests.map((each) => ({ digest: each })) });

test("an image for several platforms has the layers of those that are here", async () => {
  const manifests = JSON.stringify({ manifests: [one, other, missing].map((each) => ({ digest: each })) });
  becomeCtr(`[ "$1 $2 $3" = "--namespace moby content" ] || exit 2
    case "$4 $5" in
      "ls --quiet") echo ${one}; echo ${other} ;;
      "get ${index}") echo '${manifests}' ;;
      "get ${one}") echo '${layers(low, high)}' ;;
      "get ${other}") echo '${layers(low, top)}' ;;
      *) exit 1 ;;
    esac`);
  expect(await layerBlobs(containerd, index)).toEqual([low, high, top]);
  expect(await layerBlobs(containerd, one)).toEqual([low, high]);
  expect(await layerBlobs(containerd, missing)).toEqual([]);
});

test("what is no manifest has no layers", async () => {
  for (const text of ["no JSON", "[]", JSON.stringify({ layers: [{ digest: "../../etc" }] })]) {
    becomeCtr(`echo '${text}'`);
    expect(await layerBlobs(containerd, one)).toEqual([]);
  }
});

test("blobs are asked for where Docker says that its containerd is", async () => {
  const asked = `--address /run/other.sock --namespace other content ls --quiet digest==${low} digest==${high}`;
  becomeCtr(`[ "$*" = "${asked}" ] && echo ${low} && echo ${high}x`);
  const info = { ...containerd, Containerd: { Address: "/run/other.sock", Namespaces: { Containers: "other" } } };
  expect(await presentBlobs(info, [low, high])).toEqual([low]);
  // Which says nothing of what is there.
  expect(await presentBlobs(containerd, [low])).toBeUndefined();
});

test("nothing is asked where Docker keeps its images itself, or for nothing", async () => {
  becomeCtr(`touch ${directory}/asked`);
  const docker: DockerInfo = { ...containerd, Driver: "overlay2", DriverStatus: null };
  expect(await layerBlobs(docker, one)).toEqual([]);
  expect(await presentBlobs(docker, [low])).toBeUndefined();
  expect(await presentBlobs(containerd, [])).toEqual([]);
  expect(() => writeFileSync(`${directory}/asked`, "", { flag: "wx" })).not.toThrow();
});
