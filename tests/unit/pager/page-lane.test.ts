/** Real TLS on loopback; a source that answers out of a made-up memory, and whose connections can be cut. */
import { afterEach, beforeEach, expect, test } from "vitest";
import type { Frame } from "../../../services/shared/core/frames/frame.ts";
import { PageLane, type PageAnswer } from "../../../services/pager/page-daemon/page-lane.ts";
import { encodeZeroPages } from "../../../services/shared/core/frames/page-message.ts";
import type { DmigrateError } from "../../../services/shared/errors.ts";
import type { FramedLink } from "../../../services/shared/link/framed.ts";
import { createLog } from "../../../services/shared/log.ts";
import { listenForData, type DataListener } from "../../../services/shipper/adapters/data-listener.ts";
import { servePages, type PageReader } from "../../../services/shipper/serve-pages.ts";

const migrationId = "m-0123456789abcdef";
const secret = "5a".repeat(32);

let listener: DataListener;
let links: FramedLink[];
let hold: PromiseWithResolvers<undefined>;
let isOpen: boolean;
let answers: PageAnswer["request"][];
let told: (string | undefined)[];
let failures: DmigrateError[];
let stop: AbortController;
let lane: PageLane;

const zeros = (pages: number) => ({ ...encodeZeroPages(pages), release: () => undefined });
const memory: PageReader = {
  read: ({ pid, pages }) => {
    if (pid !== 1) throw new Error(`process ${pid} has no readable memory`);
    return zeros(pages);
  },
};

beforeEach(async () => {
  [links, answers, told, failures] = [[], [], [], []];
  hold = Promise.withResolvers();
  isOpen = true;
  stop = new AbortController();
  const transfer = {
    key: Buffer.from(secret, "hex"),
    attach: (_role: unknown, link: FramedLink) => {
      links.push(link);
      const answer = servePages(link, () => (isOpen ? memory : undefined), {
        pagesSent: 0,
        zeroPages: 0,
        bytesSent: 0,
      });
      return async (frame: Frame) => {
        if (isOpen) await hold.promise;
        await answer(frame);
      };
    },
  };
  listener = await listenForData({ host: "127.0.0.1", port: 0 }, () => transfer, createLog("test", "silent"));
  lane = new PageLane({
    migrationId,
    secret,
    source: { host: "127.0.0.1", port: listener.port },
    role: "pages",
    reconnectMs: 300,
    signal: stop.signal,
    onAnswer: ({ request }) => void answers.push(request),
    onRefused: () => undefined,
    onMap: () => undefined,
    onLink: (lost) => told.push(lost),
    onFailure: (error) => failures.push(error),
  });
  await lane.connect();
});
afterEach(async () => {
  stop.abort();
  await listener.close();
});

const request = (page: number) => ({ pid: 1, page, pages: 3, priority: 3, known: false, speculative: false }) as const;

test("what was asked on a link that is lost is asked again on the next", async () => {
  lane.request(request(1));
  lane.request(request(9));
  links[0]?.close(new Error("cable cut"));
  lane.request(request(20));
  hold.resolve(undefined);
  await expect.poll(() => answers.map(({ page }) => page)).toEqual([1, 9, 20]);
  expect(links).toHaveLength(2);
  expect(told).toEqual([expect.any(String), undefined]);
  expect(failures).toEqual([]);
  expect(lane.bytesReceived).toBeGreaterThan(0);
});

test("a source that stays away is told of, once", async () => {
  await listener.close();
  await expect.poll(() => failures.length, { timeout: 5_000 }).toBe(1);
  expect(failures[0]).toMatchObject({ code: "unavailable" });
});

test("a source whose memory is not open yet is asked again, and its answer is taken", async () => {
  isOpen = false;
  hold.resolve(undefined);
  lane.request(request(1));
  lane.request({ ...request(9), priority: 0 });
  setTimeout(() => (isOpen = true), 50);
  await expect.poll(() => answers.map(({ page }) => page).sort(), { timeout: 2_000 }).toEqual([1, 9]);
  expect(failures).toEqual([]);
});

test("a source whose memory stays closed is told of once the time is over", async () => {
  isOpen = false;
  lane.request(request(1));
  await expect.poll(() => failures.map(({ code }) => code), { timeout: 2_000 }).toEqual(["transfer-failed"]);
  expect(failures[0]?.message).toContain("not open yet");
});

test("a page that the source does not have is not asked for again", async () => {
  hold.resolve(undefined);
  lane.request({ ...request(1), pid: 2 });
  await expect.poll(() => failures.length).toBe(1);
  expect(failures[0]?.message).toContain("no readable memory");
});
