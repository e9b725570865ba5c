import { mkdirSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readPlaces } from "../../../services/restorer/adapters/places.ts";
import { placesSchema } from "../../../services/shared/contracts/restorer.ts";
import { fakeProfile } from "../../helpers/fake-world.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";

test("what is not there yet is on the file system above; links are followed, and present volumes are where they are", async () => {
  const root = temporaryDirectory("places-");
  mkdirSync(join(root, "overlay2"));
  mkdirSync(join(root, "volumes"));
  symlinkSync("/proc", join(root, "volumes", "moved"));
  const [volume] = fakeProfile().spec.volumes;
  if (volume === undefined) throw new Error("the fake profile has no volume");
  const volumes = ["data", "moved", "present"].map((name) => ({ ...volume, name }));
  const present = { name: "present", path: "/proc/self", empty: true, driver: "local", options: {} };
  const engine = {
    directories: () => Promise.resolve({ root, layers: join(root, "overlay2") }),
    volume: (name: string) => Promise.resolve(name === "present" ? present : undefined),
  };
  const places = placesSchema.parse(await readPlaces(engine, { volumes }, [join(root, "a/b/c"), "/proc/x"]));
  const [here, proc] = [root, "/proc"].map((path) => String(statSync(path).dev));
  expect(places.layers).toMatchObject({ fileSystem: here, path: join(root, "overlay2") });
  expect(places.layers.freeBytes).toBeGreaterThan(0);
  expect(places.log).toMatchObject({ fileSystem: here, path: root });
  expect(places.volumes).toMatchObject({
    data: { fileSystem: here, path: join(root, "volumes") },
    moved: { fileSystem: proc, path: join(root, "volumes", "moved") },
    present: { fileSystem: proc, path: "/proc/self" },
  });
  expect(places.binds).toMatchObject({
    [join(root, "a/b/c")]: { fileSystem: here, path: root },
    "/proc/x": { fileSystem: proc, path: "/proc" },
  });
});
