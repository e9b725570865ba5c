/** The page connection as it runs: real TLS on loopback, a source that answers out of a made-up memory. */
import { connect as connectTcp } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Endpoint } from "../../../services/shared/contracts/common.ts";
import {
  bufferBytesOf,
  encodePages,
  encodeZeroPages,
  pageBytes,
  pageDataOffset,
  type PageRequest,
} from "../../../services/shared/core/frames/page-message.ts";
import { connectPages } from "../../../services/shared/link/page-client.ts";
import { openLink } from "../../../services/shared/link/dial.ts";
import { frameOf, frameTypes } from "../../../services/shared/core/frames/frame.ts";
import { createLog } from "../../../services/shared/log.ts";
import { listenForData, type DataListener } from "../../../services/shipper/adapters/data-listener.ts";
import type { Answer, PageReader } from "../../../services/shipper/serve-pages.ts";
import { PageSource } from "../../helpers/page-source.ts";

const migrationId = "m-0123456789abcdef";
const secret = "5a".repeat(32);
const log = createLog("test", "silent");

const release = (): void => undefined;

/** Every page is filled with the low byte of its number; pages of a number divisible by four are zero. */
function read({ pid, vaddr, pages }: PageRequest): Answer {
  if (pid !== 1) throw new Error(`no process ${pid}`);
  const first = Number(vaddr) / pageBytes;
  if (first >= 1_000_000) return { ...encodeZeroPages(pages), release };
  const count = Math.min(pages, 64);
  const buffer = Buffer.alloc(bufferBytesOf(count));
  for (let page = 0; page < count; page++) {
    const from = pageDataOffset + page * pageBytes;
    buffer.fill((first + page) % 4 === 0 ? 0 : (first + page) & 0xff, from, from + pageBytes);
  }
  return { ...encodePages(buffer, count), release };
}

const memory: PageReader = { read };

let listener: DataListener;
let known: boolean;
let served: PageSource;
let stop: AbortController;

beforeEach(async () => {
  known = true;
  served = new PageSource(secret, memory);
  stop = new AbortController();
  const find = (id: string) => (known && id === migrationId ? served : undefined);
  listener = await listenForData({ host: "127.0.0.1", port: 0 }, find, log);
});

afterEach(async () => {
  stop.abort();
  served.stop();
  await listener.close();
});

const source = (): Endpoint => ({ host: "127.0.0.1", port: listener.port });
const dial = (change: Partial<Parameters<typeof connectPages>[0]> = {}) =>
  connectPages({ migrationId, secret, source: source(), signal: stop.signal, ...change });

describe("pages over the link", () => {
  test("are the source's, each answer to its request, many at once", async () => {
    const pages = await dial();
    const runs = await Promise.all(
      Array.from({ length: 200 }, async (_each, i) => ({
        first: i * 3,
        run: await pages.fetch({ pid: 1, vaddr: BigInt(i * 3 * pageBytes), pages: 3, priority: i % 2 === 0 ? 3 : 0 }),
      })),
    );
    for (const { first, run } of runs) {
      expect(run.pages).toBe(3);
      for (let page = 0; page < 3; page++) {
        const wanted = (first + page) % 4 === 0 ? 0 : (first + page) & 0xff;
        const got = run.data?.subarray(page * pageBytes, (page + 1) * pageBytes);
        expect(got?.equals(Buffer.alloc(pageBytes, wanted))).toBe(true);
      }
    }
    expect(served.stats.pagesSent).toBe(600);
    expect(served.stats.zeroPages).toBe(150);
    // Zero pages do not travel.
    expect(pages.bytesReceived).toBeLessThan(450 * pageBytes + 200 * 64);
    expect(served.stats.bytesSent).toBe(pages.bytesReceived);
    pages.close();
    await pages.closed;
  });

  test("come shorter than asked, and runs of zeros as a flag", async () => {
    const pages = await dial();
    const run = await pages.fetch({ pid: 1, vaddr: BigInt(pageBytes), pages: 1_000, priority: 3 });
    expect(run.pages).toBe(64);
    const zeros = await pages.fetch({ pid: 1, vaddr: BigInt(1_000_000 * pageBytes), pages: 1_000, priority: 3 });
    expect(zeros).toEqual({ pages: 1_000, data: null });
  });

  test("that can't be read are an error of their request alone", async () => {
    const pages = await dial();
    await expect(pages.fetch({ pid: 2, vaddr: 0n, pages: 1, priority: 0 })).rejects.toMatchObject({
      code: "transfer-failed",
      message: expect.stringContaining("no process 2") as string,
    });
    await expect(pages.fetch({ pid: 2, vaddr: 0n, pages: 1, priority: 3 })).rejects.toThrow("no process 2");
    served.memory = undefined;
    await expect(pages.fetch({ pid: 1, vaddr: 0n, pages: 1, priority: 0 })).rejects.toThrow("not open yet");
    served.memory = memory;
    await expect(pages.fetch({ pid: 1, vaddr: 4096n, pages: 1, priority: 0 })).resolves.toMatchObject({ pages: 1 });
  });

  test("a fault overtakes the background that was asked for before", async () => {
    const pages = await dial();
    const order: string[] = [];
    const background = Array.from({ length: 100 }, async (_each, i) => {
      await pages.fetch({ pid: 1, vaddr: BigInt((4 * i + 1) * pageBytes), pages: 64, priority: 3 });
      order.push("background");
    });
    await pages.fetch({ pid: 1, vaddr: BigInt(pageBytes), pages: 1, priority: 0 });
    order.push("fault");
    await Promise.all(background);
    // Behind what is on its way already, a few frames, and no more.
    expect(order.indexOf("fault")).toBeLessThan(10);
  });

  test("a lost connection fails every request, also the later ones", async () => {
    served.isHeld = true;
    const pages = await dial();
    const waiting = pages.fetch({ pid: 1, vaddr: 4096n, pages: 1, priority: 3 });
    await expect.poll(() => served.connections.length).toBe(1);
    served.cut();
    await expect(waiting).rejects.toMatchObject({ code: "unavailable" });
    await expect(pages.closed).rejects.toMatchObject({ code: "unavailable" });
    await expect(pages.fetch({ pid: 1, vaddr: 4096n, pages: 1, priority: 3 })).rejects.toMatchObject({
      code: "unavailable",
    });
  });
});

describe("the data port", () => {
  test("takes nobody who does not know the secret, or a migration that is not there", async () => {
    await expect(dial({ secret: "00".repeat(32) })).rejects.toMatchObject({ code: "unauthorized" });
    await expect(dial({ migrationId: "m-ffffffffffffffff" })).rejects.toMatchObject({ code: "unauthorized" });
    known = false;
    await expect(dial()).rejects.toMatchObject({ code: "unauthorized" });
  });

  test("ends connections that send what is no request", async () => {
    const link = await openLink(
      { migrationId, secret, source: source(), role: "pages", signal: stop.signal },
      { onFrame: () => undefined },
    );
    link.write(frameTypes.pageRequest, 1, frameOf(Buffer.from("not a request")));
    expect(await link.closed).toBeInstanceOf(Error);
    await expect(dial()).resolves.toBeDefined();
  });

  test("stays open to those who know, whatever strangers send", async () => {
    const strangers = Array.from({ length: 40 }, () => {
      const socket = connectTcp(listener.port, "127.0.0.1");
      socket.on("error", () => undefined);
      socket.write(Buffer.alloc(2_000, 0x16));
      return socket;
    });
    const pages = await dial();
    await expect(pages.fetch({ pid: 1, vaddr: 4096n, pages: 1, priority: 0 })).resolves.toMatchObject({ pages: 1 });
    for (const socket of strangers) socket.destroy();
  });

  test("drops strangers beyond the number of handshakes it has room for", async () => {
    const strangers = Array.from({ length: 80 }, () => connectTcp(listener.port, "127.0.0.1"));
    const dropped = strangers.map((socket) => {
      socket.on("error", () => undefined);
      return new Promise<boolean>((resolve) => socket.once("close", () => resolve(true)));
    });
    await sleep(200);
    const states = await Promise.all(dropped.map((each) => Promise.race([each, Promise.resolve(false)])));
    expect(states.filter(Boolean)).toHaveLength(16);
    for (const socket of strangers) socket.destroy();
  });

  test("that is not there is unavailable, and a cancelled connection cancelled", async () => {
    const { port } = listener;
    await listener.close();
    await expect(dial({ source: { host: "127.0.0.1", port } })).rejects.toMatchObject({ code: "unavailable" });
    await expect(dial({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: "cancelled" });
  });
});
