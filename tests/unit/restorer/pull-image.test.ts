import { expect, test } from "vitest";
import type { Engine } from "../../../services/restorer/adapters/engine.ts";
import { pullImage } from "../../../services/restorer/pull-image.ts";

const wanted = `sha256:${"a".repeat(64)}`;
const other = `sha256:${"b".repeat(64)}`;
const ref = `redis@sha256:${"d".repeat(64)}`;
const { signal } = new AbortController();

/** An engine whose registry has one image under `ref`; `images` is what the node has, by id and by reference. */
function engineWith(inRegistry: string, images: Map<string, string>): { engine: Engine; pulled: string[] } {
  const pulled: string[] = [];
  const engine: Partial<Engine> = {
    imageId: (name) => Promise.resolve(images.get(name)),
    pullImage: (name) => {
      pulled.push(name);
      images.set(name, inRegistry).set(inRegistry, inRegistry);
      return Promise.resolve();
    },
    removeImage: (name) => {
      images.delete(images.get(name) ?? "");
      images.delete(name);
      return Promise.resolve();
    },
  };
  return { engine: engine as Engine, pulled };
}

test("an image that is there is not pulled", async () => {
  const { engine, pulled } = engineWith(wanted, new Map([[wanted, wanted]]));
  await pullImage(engine, wanted, ref, signal);
  expect(pulled).toEqual([]);
});

test("the image that is meant stays", async () => {
  const images = new Map<string, string>();
  await pullImage(engineWith(wanted, images).engine, wanted, ref, signal);
  expect(images.get(wanted)).toBe(wanted);
});

test("another one is removed again", async () => {
  const images = new Map<string, string>();
  await expect(pullImage(engineWith(other, images).engine, wanted, ref, signal)).rejects.toThrow(/another image/);
  expect(images.size).toBe(0);
});

test("another one that was there before stays", async () => {
  const images = new Map([
    [ref, other],
    [other, other],
  ]);
  await expect(pullImage(engineWith(other, images).engine, wanted, ref, signal)).rejects.toThrow(/another image/);
  expect(images.size).toBe(2);
});
