import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { reach, untilReached } from "../../../services/shared/adapters/milestone.ts";

let dir: string;
beforeEach(() => void (dir = mkdtempSync(join(tmpdir(), "milestone-"))));
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const never = new AbortController().signal;

it("is waited for, by several, and not for what lies beside it", async () => {
  let reached = 0;
  const path = join(dir, "sealed");
  const waiting = [1, 2].map(() => untilReached(path, never).then(() => (reached += 1)));
  writeFileSync(join(dir, "received"), "");
  await new Promise((resolve) => setTimeout(resolve, 20));
  expect(reached).toBe(0);
  reach(path);
  await Promise.all(waiting);
  expect(reached).toBe(2);
});

it("may have been reached before", async () => {
  const path = join(dir, "sealed");
  reach(path);
  reach(path);
  await untilReached(path, never);
});

it("is not waited for any more once nobody wants it, nor where it cannot be", async () => {
  const path = join(dir, "sealed");
  const given = new AbortController();
  const waiting = untilReached(path, given.signal);
  given.abort(new Error("given up"));
  await expect(waiting).rejects.toThrow("given up");
  reach(path);
  await expect(untilReached(path, given.signal)).rejects.toThrow("given up");
  await expect(untilReached(join(dir, "nowhere", "sealed"), never)).rejects.toThrow(/ENOENT/);
});
