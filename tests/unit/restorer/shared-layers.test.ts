import { expect, test } from "vitest";
import { sharedLayers } from "../../../services/restorer/core/shared-layers.ts";

test.each([
  [
    ["a", "b", "c"],
    [
      ["a", "x"],
      ["a", "b"],
    ],
    2,
  ],
  [["a", "b"], [["a", "b", "c"]], 2],
  [["a", "b"], [["b", "a"], []], 0],
  [["a"], [], 0],
  [[], [["a"]], 0],
])("of %j, where there are %j, %i are shared", (layers, present, count) => {
  expect(sharedLayers(layers, present)).toBe(count);
});
