import { expect, test } from "vitest";
import { findDiskNeeds, type DiskNeedsInput } from "../../../services/planner/core/disk-needs.ts";
import { findNoRoom } from "../../../services/planner/core/room.ts";
import type { Place } from "../../../services/shared/contracts/restorer.ts";
import { fakeProfile, fakeResources } from "../../helpers/fake-world.ts";

const MiB = 1 << 20;
const place = (fileSystem: string, path: string, freeMiB = 10_000): Place => ({
  fileSystem,
  path,
  freeBytes: freeMiB * MiB,
});
const layers = place("1", "/var/lib/docker/overlay2");
const log = place("1", "/var/lib/docker/containers");
const profile = {
  ...fakeProfile(),
  writableLayerBytes: 100 * MiB,
  volumeBytes: 700 * MiB,
  bytesByVolume: { data: 400 * MiB, more: 200 * MiB },
  bytesByBind: { "/srv/d": 100 * MiB },
};
const needs = (input: Partial<DiskNeedsInput>) =>
  findDiskNeeds({ profile, shipImage: false, places: undefined, destination: fakeResources(), ...input }).map(
    ({ fileSystem, path, neededBytes, parts }) => [fileSystem, path, Math.round(neededBytes / MiB), parts.join()],
  );

test("what comes to one file system is added up, whichever directories it comes to", () => {
  const volumes = { data: place("2", "/var/lib/docker/volumes/data"), more: place("2", "/mnt/more") };
  const binds = { "/srv/d": layers };
  expect(needs({ places: { layers, log, volumes, binds } })).toEqual([
    ["1", layers.path, 284, "writable layer,log,bind mount /srv/d"],
    ["2", "/var/lib/docker/volumes/data", 680, "volume data,volume more"],
  ]);
});

test("an image comes where the layers are", () => {
  const volumes = { data: log, more: log };
  const there = { ...profile, imageBytes: 50 * MiB };
  const places = { layers: place("7", "/layers"), log, volumes, binds: { "/srv/d": log } };
  expect(needs({ profile: there, shipImage: true, places })[0]).toEqual(["7", "/layers", 229, "image,writable layer"]);
});

test("of a file system that nothing comes to nothing is asked", () => {
  const places = { layers, log, volumes: { data: place("3", "/empty", 0) }, binds: {} };
  const empty = { ...profile, volumeBytes: 0, bytesByVolume: { data: 0 }, bytesByBind: {} };
  expect(needs({ profile: empty, places })).toHaveLength(1);
});

test("nodes that do not tell are taken to have it all in Docker's directory", () => {
  const { bytesByVolume: _volumes, bytesByBind: _binds, ...older } = profile;
  for (const some of [profile, older])
    expect(needs({ profile: some }).map(([, path, neededMiB]) => [path, neededMiB])).toEqual([
      ["/var/lib/docker", 944],
    ]);
  const places = { layers: place("7", "/layers"), log, volumes: {}, binds: {} };
  expect(needs({ profile: older, places })[1]?.slice(0, 3)).toEqual(["1", log.path, 790]);
});

test("each file system without room is named, with what was to come there", () => {
  const volumes = { data: place("2", "/mnt/small", 100), more: log };
  const places = { layers, log, volumes, binds: { "/srv/d": place("3", "/srv", 50) } };
  const ends = { from: "a", to: "b", source: fakeResources(), destination: fakeResources() };
  const refusals = findNoRoom({ ...ends, profile, mode: "post-copy", shipImage: false, places });
  expect(refusals.map(({ code, message }) => [code, message])).toEqual([
    ["disk", "node b has 100 MiB of disk free at /mnt/small, and 460 MiB are needed for volume data"],
    ["disk", "node b has 50 MiB of disk free at /srv, and 130 MiB are needed for bind mount /srv/d"],
  ]);
});
