import { mkdirSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readPlaces } from "../../../services/restorer/adapters/places.ts";
import { placesSchema } from "../../../services/shared/contracts/restorer.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";

test("what is not there yet is on the file system above; links are followed, and present volumes are where they are", async () => {
  const root = temporaryDirectory("places-");
  mkdirSync(join(root, "overlay2"));
  mkdirSync(join(root, "volumes"));
  symlinkSync("/proc", join(root, "volumes", "moved"));
  const options = {
    ...{ root, layers: join(root, "overlay2"), volumes: ["data", "moved", "present", "data"] },
    ...{ volumePaths: new Map([["present", "/proc/self"]]), moveBinds: [join(root, "a/b/c"), "/proc/x"] },
  };
  const places = placesSchema.parse(await readPlaces(options));
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
