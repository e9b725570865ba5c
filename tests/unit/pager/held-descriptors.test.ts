import { spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { HeldDescriptors } from "../../../services/pager/adapters/held-descriptors.ts";
import { canUserfault, openUserfaultRegion, useMemory } from "../../helpers/userfault-region.ts";

test.skipIf(!canUserfault())(
  "a thread waits for its page while a duplicate is held, and reads zeros after it",
  async () => {
    const { fd, first } = openUserfaultRegion(1);
    const held = new HeldDescriptors(process.pid);
    held.hold(1, fd);
    closeSync(fd);
    let found: number[] | undefined;
    const reading = useMemory([{ kind: "read", page: first, pages: 1 }]).then((words) => (found = words));
    await sleep(300);
    expect(found).toBeUndefined();
    held.letGo(2);
    held.letGo(1);
    await reading;
    expect(found).toEqual([0]);
    held.close();
  },
);

test("what is held outlives its process; of one that is gone nothing is to be had", async () => {
  const child = spawn("sleep", ["100"]);
  const held = new HeldDescriptors(child.pid ?? 0);
  held.hold(1, 0);
  expect(() => held.hold(2, 99)).toThrow("EBADF");
  child.kill("SIGKILL");
  await once(child, "close");
  expect(held.dropDead()).toBe(true);
  expect(() => held.hold(2, 0)).toThrow("ESRCH");
  held.letGo(1);
  expect(held.dropDead()).toBe(false);
  held.close();
});
