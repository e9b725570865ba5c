import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { resolveInside } from "../../../services/dumper/adapters/runc-container.ts";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "resolve-"));
  mkdirSync(join(root, "run/lock"), { recursive: true });
  mkdirSync(join(root, "var"));
});
afterEach(() => rmSync(root, { recursive: true }));

it("follows links inside, absolute ones too", () => {
  symlinkSync("/run", join(root, "var/run"));
  symlinkSync("../run/lock", join(root, "var/lock"));
  expect(resolveInside(root, "/var/run/x")).toBe("/run/x");
  expect(resolveInside(root, "/var/lock/a/../b")).toBe("/run/lock/b");
});

it("never leaves the root", () => {
  symlinkSync("../../../../../../etc", join(root, "var/out"));
  expect(resolveInside(root, "/var/out/passwd")).toBe("/etc/passwd");
  expect(resolveInside(root, "/../../etc")).toBe("/etc");
});

it("gives up on a ring of links", () => {
  symlinkSync("/var/b", join(root, "var/a"));
  symlinkSync("/var/a", join(root, "var/b"));
  expect(() => resolveInside(root, "/var/a")).toThrow("too many symbolic links");
});
