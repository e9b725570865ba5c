import fc from "fast-check";
import { expect, test } from "vitest";
import { MissingPages } from "../../../services/pager/core/missing-pages.ts";

const page = fc.integer({ min: 0, max: 60 });
const pages = fc.integer({ min: 1, max: 12 });
const operation = fc.oneof(
  fc.record({ kind: fc.constant("delete" as const), page, pages }),
  fc.record({ kind: fc.constant("move" as const), page, to: page, pages }),
  fc.record({ kind: fc.constant("fork" as const) }),
);

/** Memory page to image page. */
type Model = Map<number, number>;

function agree(missing: MissingPages, model: Model): void {
  expect(missing.empty).toBe(model.size === 0);
  for (let at = 0; at < 90; at += 1) expect(missing.imageOf(at)).toBe(model.get(at));
  for (const [image, count] of [
    [0, 90],
    [7, 5],
    [20, 13],
  ] as const) {
    const places = missing
      .placesOf(image, count)
      .flatMap((place) => Array.from({ length: place.pages }, (_, at) => [place.page + at, place.image + at]));
    const expected = [...model].filter(([, from]) => from >= image && from < image + count);
    expect(places.toSorted(byMemory)).toEqual(expected.toSorted(byMemory));
  }
  const all = missing.all().flatMap((place) => Array.from({ length: place.pages }, (_, at) => place.page + at));
  expect(all.toSorted((a, b) => a - b)).toEqual([...model.keys()].toSorted((a, b) => a - b));
}

const byMemory = (a: readonly number[], b: readonly number[]): number => (a[0] ?? 0) - (b[0] ?? 0);

test("knows where each page of the images is missing, through unmaps, moves and forks", () => {
  const ranges = fc.array(fc.record({ page, pages }), { maxLength: 5 });
  fc.assert(
    fc.property(ranges, fc.array(operation, { maxLength: 25 }), (initial, operations) => {
      let missing = new MissingPages(initial);
      const model: Model = new Map();
      for (const range of initial) for (let at = range.page; at < range.page + range.pages; at += 1) model.set(at, at);
      for (const step of operations) {
        if (step.kind === "fork") {
          const parent = missing;
          missing = missing.clone();
          parent.delete(0, 90);
        } else if (step.kind === "delete") {
          missing.delete(step.page, step.pages);
          for (let at = step.page; at < step.page + step.pages; at += 1) model.delete(at);
        } else {
          // The kernel moves no memory onto itself.
          if (Math.abs(step.to - step.page) < step.pages) continue;
          missing.move(step.page, step.to, step.pages);
          for (let at = 0; at < step.pages; at += 1) {
            const image = model.get(step.page + at);
            model.delete(step.page + at);
            if (image === undefined) model.delete(step.to + at);
            else model.set(step.to + at, image);
          }
        }
        agree(missing, model);
      }
    }),
  );
});
