import fc from "fast-check";
import { expect, test } from "vitest";
import { LogPadding } from "../../../services/shipper/core/log-padding.ts";

test("leaves out spaces at the beginning of lines, wherever the log is cut, and nothing else", () => {
  const text = fc.string({ unit: fc.constantFrom("a", " ", "\n", "{"), maxLength: 60 });
  fc.assert(
    fc.property(text, fc.integer({ min: 1, max: 7 }), (log, step) => {
      const padding = new LogPadding();
      let kept = "";
      for (let at = 0; at < log.length; at += step)
        for (const part of padding.strip(Buffer.from(log.slice(at, at + step)))) kept += part.toString();
      expect(kept).toBe(log.replaceAll(/^ +/gm, ""));
    }),
  );
});
