import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type Docker from "dockerode";
import { afterEach, beforeEach, expect, it } from "vitest";
import { openCheckpoints } from "../../../services/dumper/checkpoints.ts";
import { createLog } from "../../../services/shared/log.ts";

const containerId = "ab".repeat(32);
let stateDir: string;
beforeEach(() => void (stateDir = mkdtempSync(join(tmpdir(), "checkpoints-"))));
afterEach(() => rmSync(stateDir, { recursive: true }));

it("freezes nothing for a migration that was aborted before", async () => {
  let inspected = 0;
  const inspect = (): Promise<never> => {
    inspected += 1;
    return Promise.reject(new Error("no Docker here"));
  };
  const docker = { getContainer: () => ({ inspect }) } as unknown as Docker;
  const checkpoints = openCheckpoints({ docker, stateDir, log: createLog("test", "silent") });
  const migrationId = "m-0123456789abcdef";

  await expect(checkpoints.abort(migrationId)).rejects.toMatchObject({ code: "not-found" });
  await expect(checkpoints.create({ migrationId, containerId })).rejects.toMatchObject({ code: "conflict" });
  await expect(checkpoints.abort(migrationId)).rejects.toMatchObject({ code: "not-found" });
  expect(inspected).toBe(0);

  // An abort that overtakes a creation under way counts as well.
  const [overtaken] = await Promise.allSettled([
    checkpoints.create({ migrationId: "m-00000000000000aa", containerId }),
    checkpoints.abort("m-00000000000000aa"),
  ]);
  expect(overtaken).toMatchObject({ status: "rejected", reason: { code: "conflict" } });
  expect(inspected).toBe(0);

  await expect(checkpoints.create({ migrationId: "m-00000000000000bb", containerId })).rejects.toBeDefined();
  expect(inspected).toBe(1);
  await checkpoints.stop();
});
