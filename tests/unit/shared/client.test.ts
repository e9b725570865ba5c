import { serve, type ServerType } from "@hono/node-server";
import { Hono } from "hono";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { createClient, type ServiceClient } from "../../../services/shared/client.ts";
import { DmigrateError } from "../../../services/shared/errors.ts";

const answer = z.object({ ok: z.boolean() });

/** The begin of a good answer, and then the connection's end. */
const brokenOff = (): ReadableStream<Uint8Array> =>
  new ReadableStream({
    start: (controller) => controller.enqueue(Buffer.from('{"ok":')),
    pull: async (controller) => {
      await delay(20);
      controller.error(new Error("broken off"));
    },
  });

const endless = (): ReadableStream<Uint8Array> =>
  new ReadableStream({
    pull: async (controller) => {
      await delay(5);
      controller.enqueue(Buffer.from(" "));
    },
  });

async function errorOf(work: Promise<unknown>): Promise<DmigrateError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(DmigrateError);
  return error as DmigrateError;
}

describe("a client of a service", () => {
  let server: ServerType;
  let client: ServiceClient;

  beforeAll(async () => {
    const app = new Hono();
    app.get("/good", (c) => c.json({ ok: true }));
    app.get("/other", (c) => c.json({ ok: "yes" }));
    app.get("/slow", () => new Promise(() => undefined));
    app.get("/broken", () => new Response(brokenOff()));
    app.get("/endless", () => new Response(endless()));
    app.get("/plain", (c) => c.text("no", 500));
    app.get("/whoami", (c) => c.json({ ok: c.req.header("authorization") === "Bearer secret" }));
    app.post("/refusal", (c) =>
      c.json(
        {
          type: "t",
          title: "t",
          status: 422,
          detail: "no",
          code: "not-migratable",
          reasons: [{ code: "tty", message: "has a terminal" }],
        },
        422,
      ),
    );
    app.get("/denied", (c) => c.json({ type: "t", title: "t", status: 401, detail: "no", code: "unauthorized" }, 401));
    await new Promise<void>((resolve) => {
      server = serve({ fetch: app.fetch, hostname: "127.0.0.1", port: 0 }, ({ port }) => {
        client = createClient("the dumper of node a", `http://127.0.0.1:${port}`, "secret");
        resolve();
      });
    });
  });

  afterAll(() => {
    client.close();
    if ("closeAllConnections" in server) server.closeAllConnections();
    server.close();
  });

  it("returns a valid answer and sends its token", async () => {
    expect(await client.get("/good", answer)).toEqual({ ok: true });
    expect(await client.get("/whoami", answer)).toEqual({ ok: true });
  });

  it("does not believe an answer outside the contract", async () => {
    expect((await errorOf(client.get("/other", answer))).code).toBe("upstream");
    expect((await errorOf(client.get("/plain", answer))).code).toBe("upstream");
  });

  it("turns a problem back into the error it was", async () => {
    const error = await errorOf(client.post("/refusal", {}, answer));
    expect(error).toMatchObject({
      code: "not-migratable",
      message: "the dumper of node a: no",
      reasons: [{ code: "tty" }],
    });
  });

  it("reports a refused token as the node's, not the caller's", async () => {
    expect((await errorOf(client.get("/denied", answer))).code).toBe("upstream");
  });

  it("gives up in time, and when told", async () => {
    expect((await errorOf(client.get("/slow", answer, { timeoutMs: 50 }))).code).toBe("timeout");
    const cancelled = new AbortController();
    const call = errorOf(client.get("/slow", answer, { signal: cancelled.signal }));
    setTimeout(() => cancelled.abort(), 20);
    expect((await call).code).toBe("cancelled");
  });

  it("gives up an answer in its midst, when told and in time", async () => {
    expect((await errorOf(client.get("/endless", answer, { timeoutMs: 100 }))).code).toBe("timeout");
    const cancelled = new AbortController();
    const call = errorOf(client.get("/endless", answer, { signal: cancelled.signal }));
    setTimeout(() => cancelled.abort(), 50);
    expect((await call).code).toBe("cancelled");
  });

  it("takes nothing for an answer that broke off", async () => {
    expect((await errorOf(client.get("/broken", answer))).code).toBe("unavailable");
  });

  it("says who cannot be reached", async () => {
    const nobody = createClient("the pager of node b", "http://127.0.0.1:1", undefined);
    const error = await errorOf(nobody.get("/good", answer));
    expect(error.code).toBe("unavailable");
    expect(error.message).toContain("the pager of node b");
  });
});
