import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { Registry } from "prom-client";
import { createPager } from "../../../services/pager/service.ts";
import { pagerSchema, type CreatePager } from "../../../services/shared/contracts/pager.ts";
import { problemSchema } from "../../../services/shared/contracts/common.ts";
import type { PageRange } from "../../../services/shared/core/criu/process-images.ts";
import { createApp, type App, type Service } from "../../../services/shared/http.ts";
import { createLog } from "../../../services/shared/log.ts";
import { migrationPaths } from "../../../services/shared/node-paths.ts";
import { installFakeCriu, writeFakeImages, type FakeCriuPlan } from "../../helpers/fake-criu.ts";
import { createModelSource, type ModelSource } from "../../helpers/model-memory.ts";

const id = "m-0123456789abcdef";
const request: CreatePager = {
  migrationId: id,
  secret: "0".repeat(64),
  source: { host: "192.0.2.1", port: 7401 },
  readers: 1,
  windowBytes: 4 << 20,
  chunkBytes: 256 << 10,
  whole: false,
};
const processes = new Map<number, PageRange[]>([
  [1, [{ page: 0x1000, pages: 700 }]],
  [9, [{ page: 0x2000, pages: 300 }]],
]);

let directory: string;
let service: Service;
let app: App;
let source: ModelSource;
let connections: number;

async function startService(criuVersion = "4.2.1"): Promise<void> {
  const log = createLog("pager", "silent");
  service = createPager({
    stateDir: directory,
    log,
    serveWith: "criu",
    reconnectSeconds: 1,
    criu: await installFakeCriu(directory, criuVersion),
    connectPages: () => {
      connections += 1;
      source = createModelSource(processes);
      return Promise.resolve(source);
    },
  });
  app = createApp({ title: "pager", services: [service], token: undefined, log, metrics: new Registry() });
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "dmigrate-pager-"));
  connections = 0;
  await startService();
});
afterEach(async () => {
  await app.request(`/pagers/${id}?force=true`, { method: "DELETE" });
  await rm(directory, { recursive: true });
});

const call = async (method: string, path: string, body?: unknown): Promise<Response> =>
  app.request(path, {
    method,
    ...(body !== undefined && { body: JSON.stringify(body), headers: { "content-type": "application/json" } }),
  });
const pagerOf = async (response: Response) => pagerSchema.parse(await response.json());
const images = (mode: FakeCriuPlan["mode"]): Promise<void> =>
  writeFakeImages(migrationPaths(directory, id).imagesDir, processes, { mode, seed: 7 });

describe("a migration's pager", () => {
  test.each(["4.2.1", "4.0"])("drains: CRIU %s gets every page", async (version) => {
    await startService(version);
    const created = await call("POST", "/pagers", request);
    expect(created.status).toBe(201);
    expect(await pagerOf(created)).toMatchObject({ state: "ready", pagesTotal: 0 });
    await images("drain");
    expect(await pagerOf(await call("POST", `/pagers/${id}/serve`))).toMatchObject({ pagesTotal: 1000 });
    const drained = await pagerOf(await call("GET", `/pagers/${id}?until=drained&waitMs=10000`));
    expect(drained).toMatchObject({ state: "drained", pagesTotal: 1000 });
    // Forked children ask again for what their parents had not been given.
    expect(drained.pagesFaulted + drained.pagesPrefetched).toBeGreaterThanOrEqual(1000);
    expect(drained.bytesReceived).toBeGreaterThan(0);
    expect(drained.drainMs).toBeGreaterThan(0);
    expect(await (await call("DELETE", `/pagers/${id}`)).json()).toEqual({ deleted: true });
    expect(await (await call("DELETE", `/pagers/${id}`)).json()).toEqual({ deleted: false });
    expect((await call("GET", `/pagers/${id}`)).status).toBe(404);
  });

  test("is made once, however often it is asked for", async () => {
    await Promise.all([call("POST", "/pagers", request), call("POST", "/pagers", request)]);
    expect(connections).toBe(1);
    const other = await call("POST", "/pagers", { ...request, chunkBytes: 4096 });
    expect(other.status).toBe(409);
  });

  test("serves once, however often it is told to", async () => {
    await call("POST", "/pagers", request);
    await images("wait");
    const answers = await Promise.all([call("POST", `/pagers/${id}/serve`), call("POST", `/pagers/${id}/serve`)]);
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
  });

  test("says why CRIU would not come up", async () => {
    await call("POST", "/pagers", request);
    await images("refuse");
    const response = await call("POST", `/pagers/${id}/serve`);
    expect(response.status).toBe(500);
    expect(problemSchema.parse(await response.json()).detail).toContain("Error (criu/uffd.c:1): no luck");
    expect(await pagerOf(await call("GET", `/pagers/${id}`))).toMatchObject({ state: "failed" });
    expect(await (await call("DELETE", `/pagers/${id}`)).json()).toEqual({ deleted: true });
  });

  test("refuses images that are not there or not CRIU's", async () => {
    await call("POST", "/pagers", request);
    expect((await call("POST", `/pagers/${id}/serve`)).status).toBe(409);
    await images("wait");
    await writeFile(join(migrationPaths(directory, id).imagesDir, "pagemap-9.img"), "nonsense");
    const response = await call("POST", `/pagers/${id}/serve`);
    expect(response.status).toBe(500);
    expect(problemSchema.parse(await response.json()).detail).toContain("no pagemap image");
  });

  test("refuses images that name more memory than there is: to note it would take all of this node's", async () => {
    await call("POST", "/pagers", request);
    const { imagesDir } = migrationPaths(directory, id);
    const many = new Map([[1, [{ page: 0x1000, pages: 2 ** 40 }]]]);
    await writeFakeImages(imagesDir, many, { mode: "wait", seed: 7 });
    const response = await call("POST", `/pagers/${id}/serve`);
    expect(response.status).toBe(500);
    expect(problemSchema.parse(await response.json()).detail).toContain("8 TiB of address space");
  });

  test("is not deleted while processes may need it, unless forced", async () => {
    await call("POST", "/pagers", request);
    await images("wait");
    await call("POST", `/pagers/${id}/serve`);
    await expect.poll(async () => (await pagerOf(await call("GET", `/pagers/${id}`))).pagesFaulted).toBe(1);
    expect((await call("DELETE", `/pagers/${id}`)).status).toBe(409);
    expect(await pagerOf(await call("GET", `/pagers/${id}`))).toMatchObject({ state: "serving" });
    expect(await (await call("DELETE", `/pagers/${id}?force=true`)).json()).toEqual({ deleted: true });
  });

  test("is deleted at once before CRIU has asked for a page", async () => {
    await call("POST", "/pagers", request);
    expect(await (await call("DELETE", `/pagers/${id}`)).json()).toEqual({ deleted: true });
  });

  test("fails, and says what to do, when CRIU dies with pages missing", async () => {
    await call("POST", "/pagers", request);
    await images("die");
    await call("POST", `/pagers/${id}/serve`);
    const failed = await pagerOf(await call("GET", `/pagers/${id}?until=drained&waitMs=10000`));
    expect(failed.state).toBe("failed");
    expect(failed.error).toMatch(/memory of the container on this node is not whole: remove it/);
  });

  test("fails when the link is lost", async () => {
    await call("POST", "/pagers", request);
    source.lose(new Error("cable cut"));
    const failed = await pagerOf(await call("GET", `/pagers/${id}?until=drained&waitMs=5000`));
    expect(failed).toMatchObject({ state: "failed" });
    expect(failed.error).toContain("cable cut");
    await images("drain");
    expect((await call("POST", `/pagers/${id}/serve`)).status).toBe(409);
  });

  test("is forgotten, and what it has left on disk, a day after it failed, if nobody has removed it", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const others = ["m-1111111111111111", "m-2222222222222222"];
    try {
      await call("POST", "/pagers", request);
      source.lose(new Error("cable cut"));
      await expect.poll(async () => (await pagerOf(await call("GET", `/pagers/${id}`))).state).toBe("failed");
      const hoursLater = async (hours: number, migrationId: string | undefined): Promise<void> => {
        vi.setSystemTime(Date.now() + hours * 3_600_000);
        await call("POST", "/pagers", { ...request, migrationId });
      };
      await hoursLater(23, others[0]);
      expect((await call("GET", `/pagers/${id}`)).status).toBe(200);
      await hoursLater(2, others[1]);
      await expect.poll(async () => (await call("GET", `/pagers/${id}`)).status).toBe(404);
      await expect.poll(() => existsSync(migrationPaths(directory, id).dir)).toBe(false);
      expect(existsSync(join(directory, "pagers", `${id}.json`))).toBe(false);
      expect((await call("GET", `/pagers/${others[0]}`)).status).toBe(200);
    } finally {
      vi.useRealTimers();
      for (const other of others) await call("DELETE", `/pagers/${other}?force=true`);
    }
  });

  test("is there when it is drained until it is removed, however late its planner comes back", async () => {
    vi.useFakeTimers({ toFake: ["Date"] });
    const other = "m-1111111111111111";
    try {
      await call("POST", "/pagers", request);
      await images("drain");
      await call("POST", `/pagers/${id}/serve`);
      await call("GET", `/pagers/${id}?until=drained&waitMs=10000`);
      vi.setSystemTime(Date.now() + 48 * 3_600_000);
      await call("POST", "/pagers", { ...request, migrationId: other });
      // What is removed is gone in some turns of the event loop.
      for (let turn = 0; turn < 100; turn++) await new Promise(setImmediate);
      expect(await pagerOf(await call("GET", `/pagers/${id}`))).toMatchObject({ state: "drained" });
      expect(existsSync(migrationPaths(directory, id).imagesDir)).toBe(true);
    } finally {
      vi.useRealTimers();
      await call("DELETE", `/pagers/${other}?force=true`);
    }
  });

  test("waits no longer than it is told to", async () => {
    await call("POST", "/pagers", request);
    const started = performance.now();
    expect(await pagerOf(await call("GET", `/pagers/${id}?until=drained&waitMs=50`))).toMatchObject({ state: "ready" });
    expect(performance.now() - started).toBeGreaterThan(45);
  });
});

describe("requests at fault", () => {
  test.each([
    ["an unknown field", { ...request, colour: "red" }, "colour"],
    ["a bad id", { ...request, migrationId: "../etc" }, "migrationId"],
    ["a tiny window", { ...request, windowBytes: 1 }, "windowBytes"],
  ])("%s", async (_, body, field) => {
    const response = await call("POST", "/pagers", body);
    expect(response.status).toBe(400);
    expect(problemSchema.parse(await response.json()).errors?.map((error) => error.field)).toEqual([field]);
  });

  test("an unknown migration", async () => {
    expect((await call("POST", `/pagers/${id}/serve`)).status).toBe(404);
    expect((await call("GET", `/pagers/${id}?waitMs=99999999`)).status).toBe(400);
  });
});

test("readiness tells CRIU's version and names what to mend", async () => {
  expect(await service.checks()).toMatchObject([
    { name: "criu", ok: true },
    { name: "userfaultfd", ok: true },
  ]);
  await startService("3.17");
  expect((await service.checks())[0]).toMatchObject({
    ok: false,
    fix: expect.stringMatching(/install CRIU/) as string,
  });
  const none = createPager({
    stateDir: directory,
    log: createLog("pager", "silent"),
    serveWith: "criu",
    reconnectSeconds: 1,
    criu: "/nonexistent/criu",
  });
  expect(await none.checks()).toMatchObject([{ name: "criu", ok: false }]);
});
