import fc from "fast-check";
import { expect, test } from "vitest";
import {
  decodePreamble,
  encodePreamble,
  preambleBytes,
  protocolVersion,
  roles,
} from "../../../../services/shared/link/preamble.ts";

test("is seven bytes: a magic, the version, how it goes on, what it is for", () => {
  const bytes = encodePreamble({ security: "plain", role: "faults" });
  expect([...bytes]).toEqual([...Buffer.from("DMGL"), protocolVersion, 2, 3]);
  expect(bytes.length).toBe(preambleBytes);
});

test("says what it was made of", () => {
  for (const security of ["tls", "plain"] as const)
    for (const role of roles) expect(decodePreamble(encodePreamble({ security, role }))).toEqual({ security, role });
});

test("is nothing else", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...roles),
      fc.nat(preambleBytes - 1),
      fc.integer({ min: 16, max: 255 }),
      (role, at, change) => {
        const bytes = encodePreamble({ security: "tls", role });
        bytes[at] = (bytes[at] ?? 0) ^ change;
        expect(() => decodePreamble(bytes)).toThrow(at === 4 ? "version" : "another protocol");
      },
    ),
  );
});

test("of another version says so, and which", () => {
  const bytes = encodePreamble({ security: "tls", role: "pages" });
  bytes[4] = 6;
  expect(() => decodePreamble(bytes)).toThrow(
    `the peer speaks version 6 of the data protocol, this side ${protocolVersion}`,
  );
});
