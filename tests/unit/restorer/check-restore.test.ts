/** Which layers of a missing image need not be sent. */
import { expect, test } from "vitest";
import type { Engine } from "../../../services/restorer/adapters/engine.ts";
import { checkRestore } from "../../../services/restorer/check-restore.ts";
import { fakeProfile } from "../../helpers/fake-world.ts";

const info = { runtimes: [], seccomp: true, cpus: 2, cgroupDriver: "systemd", cgroupVersion: "1", lackingLimits: [] };
const engineWith = (present: string[][], inContainerd?: string[]): Engine =>
  ({
    imageId: () => Promise.resolve(undefined),
    info: () => Promise.resolve({ ...info, version: "26" }),
    containers: () => Promise.resolve([]),
    networks: () => Promise.resolve(new Map()),
    volume: (name: string) => Promise.resolve({ name, path: "/proc/self", empty: true, driver: "local", options: {} }),
    directories: () => Promise.resolve({ root: "/", layers: "/" }),
    imageLayers: () => Promise.resolve(present),
    layersInContainerd: () => Promise.resolve(inContainerd),
  }) as Partial<Engine> as Engine;

const request = { container: fakeProfile().spec, moveBinds: [] };

test("Docker itself has them upon each other; containerd each by itself", async () => {
  const layers = ["a", "b", "c"];
  expect((await checkRestore(engineWith([["a", "b", "x"]]), request, layers)).layersPresent).toEqual(["a", "b"]);
  expect((await checkRestore(engineWith([["b", "c"]]), request, layers)).layersPresent).toEqual([]);
  expect((await checkRestore(engineWith([], ["c"]), request, layers)).layersPresent).toEqual(["c"]);
});

test("says where each volume would be written, by what is known of those that are here", async () => {
  const { places } = await checkRestore(engineWith([]), request);
  const { volumes } = request.container;
  expect(volumes.length).toBeGreaterThan(0);
  for (const { name } of volumes) expect(places?.volumes[name]?.path).toBe("/proc/self");
});

test("one that comes again above those that are here is sent: Docker opens its file for that", async () => {
  const check = await checkRestore(engineWith([["a", "empty"]]), request, ["a", "empty", "b", "empty"]);
  expect(check.layersPresent).toEqual(["a"]);
});
