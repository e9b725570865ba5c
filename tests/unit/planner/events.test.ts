import { serve } from "@hono/node-server";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { streamEvents } from "../../../services/planner/event-stream.ts";
import { createWatch, type Watch } from "../../../services/planner/watch.ts";
import type { MigrationEvent } from "../../../services/shared/contracts/planner.ts";
import { waitFor } from "../../helpers/migration-calls.ts";
import { createTestPlanner } from "../../helpers/test-planner.ts";

const seqs = (text: string): number[] => [...text.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]));
const phases = (text: string): string[] =>
  [...text.matchAll(/^event: phase\nid: \d+\ndata: (.*)$/gm)].map(
    (match) => (JSON.parse(match[1] ?? "") as MigrationEvent).phase,
  );

test("events follow the migration to its end, and can be read again from any of them", async () => {
  await using planner = await createTestPlanner();
  const { id } = await planner.start();
  const text = await (await planner.request("GET", `/migrations/${id}/events`)).text();
  expect(phases(text)).toEqual(["preparing", "freezing", "dumping", "resuming", "draining", "committing", "committed"]);
  expect(seqs(text)).toEqual(seqs(text).toSorted((x, y) => x - y));
  const stages = [...text.matchAll(/"type":"stage".*?"message":"(\w+) took/g)].map((match) => match[1]);
  expect(stages.toSorted()).toEqual(["commit", "drain", "dump", "freeze", "prepare", "resume", "ship"]);

  const all = seqs(await (await planner.request("GET", `/migrations/${id}/events`)).text());
  const from = all[2] ?? 0;
  const byHeader = await planner.request("GET", `/migrations/${id}/events`, undefined, {
    "last-event-id": String(from),
  });
  expect(seqs(await byHeader.text())).toEqual(all.slice(3));
  // A browser comes back with the last one, and would wait without end.
  const nothing = await planner.request("GET", `/migrations/${id}/events`, undefined, {
    "last-event-id": String(all.at(-1)),
  });
  expect(await nothing.text()).toBe("");
  const byQuery = await planner.request("GET", `/migrations/${id}/events?after=${from}&follow=false`);
  expect(byQuery.headers.get("content-type")).toBe("text/event-stream");
  expect(seqs(await byQuery.text())).toEqual(all.slice(3));
});

test("an unknown migration has no events, and a bad position is named", async () => {
  await using planner = await createTestPlanner();
  expect((await planner.request("GET", "/migrations/m-0000000000000000/events")).status).toBe(404);
  const bad = await planner.request("GET", "/migrations/m-0000000000000000/events?after=-1");
  expect(bad.status).toBe(400);
});

test("without follow it ends with what there is", async () => {
  await using planner = await createTestPlanner();
  const held = planner.b.hold("POST /restores");
  const { id } = await planner.start();
  await held.arrived;
  const text = await (await planner.request("GET", `/migrations/${id}/events?follow=false`)).text();
  expect(phases(text)).toEqual(["preparing"]);
  held.release();
  await planner.until(id);
});

/** A watch that counts who waits. */
function countingWatch(): Watch & { waiting: number } {
  const watch = createWatch();
  const counting = {
    waiting: 0,
    wake: (id: string) => watch.wake(id),
    wait: async (id: string, ms: number, signal: AbortSignal) => {
      counting.waiting++;
      await watch.wait(id, ms, signal);
      counting.waiting--;
    },
  };
  return counting;
}

test("a client that goes away ends the stream; a planner that stops ends it too", async () => {
  const watch = countingWatch();
  const stopped = new AbortController();
  const table = { events: () => [], get: () => undefined };
  const server = serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: () =>
      new Response(streamEvents({ table, watch, stopped: stopped.signal }, "m", { afterSeq: 0, follow: true })),
  });
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const client = new AbortController();
  const response = await fetch(url, { signal: client.signal });
  const reading = response.text().catch(() => "gone");
  await waitFor(() => watch.waiting === 1);
  client.abort();
  expect(await reading).toBe("gone");
  await waitFor(() => watch.waiting === 0);

  const other = await fetch(url);
  const text = other.text();
  await waitFor(() => watch.waiting === 1);
  stopped.abort();
  expect(await text).toBe("");
  expect(watch.waiting).toBe(0);
  await new Promise((resolve) => server.close(resolve));
});

test("a client that does not read is sent no more than it takes", async () => {
  let asked = 0;
  const watch = createWatch();
  const table = {
    get: () => undefined,
    events: (_id: string, after: number): MigrationEvent[] => {
      asked++;
      return [{ seq: after + 1, type: "warning", phase: "draining" } as MigrationEvent];
    },
  };
  const stream = streamEvents({ table, watch, stopped: new AbortController().signal }, "m", {
    afterSeq: 0,
    follow: true,
  });
  const reader = stream.getReader();
  await reader.read();
  await delay(20);
  expect(asked).toBe(1);
  await reader.read();
  expect(asked).toBe(2);
  await reader.cancel();
});
