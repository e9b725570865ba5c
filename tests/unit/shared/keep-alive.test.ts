import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";
import { z } from "zod";
import { createClient } from "../../../services/shared/client.ts";
import { idleClientMs, idleServerMs } from "../../../services/shared/keep-alive.ts";

const idleMs = 100;

it("reuses a connection, but none that was idle for so long that the server may be ending it", async () => {
  expect(idleServerMs).toBeGreaterThan(4 * idleClientMs);
  let connections = 0;
  const server = createServer((request, response) => {
    setTimeout(() => response.end("{}"), request.url === "/slow" ? 3 * idleMs : 0);
  });
  server.keepAliveTimeout = idleServerMs;
  server.on("connection", () => (connections += 1));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = createClient("the server", url, undefined, idleMs);
  try {
    await client.get("/", z.object({}));
    // An answer that takes longer is no idle connection.
    await client.get("/slow", z.object({}));
    await client.get("/", z.object({}));
    expect(connections).toBe(1);
    await sleep(3 * idleMs);
    await client.get("/", z.object({}));
    expect(connections).toBe(2);
  } finally {
    client.close();
    await new Promise((resolve) => server.close(resolve));
  }
});
