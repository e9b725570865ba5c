import { expect, test } from "vitest";
import { jsonLogLimits } from "../../../services/shared/adapters/container-log.ts";

test.each([
  [{}, { maxBytes: undefined, maxFiles: 1, compress: false }],
  [{ "max-size": "10m" }, { maxBytes: 10_000_000, maxFiles: 1, compress: false }],
  [
    { "max-size": "1.5KiB", "max-file": "3", compress: "true" },
    { maxBytes: 1500, maxFiles: 3, compress: true },
  ],
  [
    { "max-size": "42", "max-file": "100000" },
    { maxBytes: 42, maxFiles: 1000, compress: false },
  ],
  [
    { "max-size": "-1", "max-file": "x" },
    { maxBytes: undefined, maxFiles: 1, compress: false },
  ],
])("the limits of %j", (Config, limits) => {
  expect(jsonLogLimits({ Type: "json-file", Config })).toEqual(limits);
});

test("other drivers keep no files that we know", () => {
  for (const Type of ["local", "none", "syslog"]) expect(jsonLogLimits({ Type, Config: {} })).toBeUndefined();
  expect(jsonLogLimits({ Type: "json-file", Config: null })).toEqual({
    maxBytes: undefined,
    maxFiles: 1,
    compress: false,
  });
});
