/** With real threads, a real userfaultfd, and real connections. */
import { readdirSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { startUnusedDaemon, type UnusedDaemon } from "../../../services/pager/daemon-page-server.ts";
import { BulkLanes } from "../../../services/pager/page-daemon/bulk-lanes.ts";
import type { FromDaemon } from "../../../services/pager/page-daemon/messages.ts";
import { rehearse } from "../../../services/pager/page-daemon/rehearsal.ts";
import { canUserfault } from "../../helpers/userfault-region.ts";

const timeoutMs = 30_000;

describe.skipIf(!canUserfault())("a rehearsal", () => {
  let bulk: BulkLanes;
  beforeEach(() => {
    bulk = new BulkLanes();
  });
  afterEach(() => bulk.close());

  test("leaves the threads as they were, and nothing open", { timeout: timeoutMs }, async () => {
    const open = (): number => readdirSync("/proc/self/fd").length;
    // What is opened once and kept, such as the sockets of Node's own, is there by then.
    await rehearse(bulk, AbortSignal.timeout(1_000));
    await new Promise((resolve) => setTimeout(resolve, 500));
    const before = open();
    await rehearse(bulk, AbortSignal.timeout(1_500));
    await expect.poll(open).toBeLessThanOrEqual(before);
    expect(bulk.bytesReceived).toBe(0);
  });

  test("is over soon after it is not wanted any more", { timeout: timeoutMs }, async () => {
    const wanted = new AbortController();
    const over = rehearse(bulk, wanted.signal);
    await new Promise((resolve) => setTimeout(resolve, 500));
    const from = performance.now();
    wanted.abort();
    await over;
    expect(performance.now() - from).toBeLessThan(2_000);
  });
});

describe.skipIf(!canUserfault())("a daemon that rehearses", () => {
  let unused: UnusedDaemon;
  const heard: FromDaemon[] = [];
  beforeEach(() => {
    heard.length = 0;
    unused = startUnusedDaemon();
    unused.heard.passTo((message) => heard.push(message));
  });
  afterEach(() => unused.daemon.kill());

  test("says when it is through, and nothing else", { timeout: timeoutMs }, async () => {
    await unused.daemon.ask({ kind: "rehearse" }, "rehearsed", timeoutMs);
    expect(heard).toEqual([{ kind: "rehearsed" }]);
  });

  test.each([50, 250, 400, 600, 800, 1_000])(
    "ends with its agent, %i ms after it was told to",
    { timeout: timeoutMs },
    async (ms) => {
      unused.daemon.ask({ kind: "rehearse" }, "rehearsed", timeoutMs).catch(() => undefined);
      await new Promise((resolve) => setTimeout(resolve, ms));
      unused.daemon.leave();
      await expect
        .poll(() => Promise.race([unused.daemon.ended, Promise.resolve("it goes on")]), { timeout: 5_000 })
        .toMatch(/^signal/);
    },
  );
});
