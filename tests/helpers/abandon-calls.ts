/** Calls about nodes that are given up for good, and the migrations that wait for them. */
import { expect } from "vitest";
import { openStore, type Store } from "../../services/planner/adapters/store.ts";
import type { MigrationEvent } from "../../services/shared/contracts/planner.ts";
import type { FakeNode } from "./fake-node.ts";
import { waitFor } from "./migration-calls.ts";
import type { TestPlanner } from "./test-planner.ts";

/** Whoever waits for an attempt, or an answer, waits longer than a test may take. */
export const endless = {
  retryMs: () => 60_000,
  callMs: 60_000,
  createMs: 60_000,
  freezeMs: 60_000,
  moveMs: 60_000,
  resumeMs: 60_000,
};

export const abandon = (p: TestPlanner, id: string, node: string): Promise<Response> =>
  p.request("POST", `/migrations/${id}/abandon`, { node });

export const detailOf = async (response: Response): Promise<string> =>
  ((await response.json()) as { detail: string }).detail;

export async function warnings(p: TestPlanner, id: string): Promise<string> {
  const text = await (await p.request("GET", `/migrations/${id}/events?follow=false`)).text();
  return [...text.matchAll(/^event: warning\nid: \d+\ndata: (.*)$/gm)]
    .map((match) => (JSON.parse(match[1] ?? "") as MigrationEvent).message)
    .join("\n");
}

/** A node that does not answer its health, while its other calls are as the test has them. */
export const silence = (node: FakeNode): void => node.fail("GET /healthz", { kind: "dropped", times: 1000 });

/** Makes the calls that an event names, as the operator would. */
export async function obey(node: FakeNode, text: string): Promise<void> {
  const calls = [...text.matchAll(/(POST|DELETE) (\/[^\s,]+)(?: (\{.*\}))?/g)];
  expect(calls.length).toBeGreaterThan(1);
  for (const [, method = "", path = "", body] of calls) {
    const headers = { authorization: `Bearer ${node.token}`, "content-type": "application/json" };
    const response = await fetch(node.url + path, { method, headers, ...(body !== undefined && { body }) });
    expect(response.status).toBe(200);
  }
}

/** Held at the dump, so that everything exists on both nodes. */
export async function startToDump(p: TestPlanner): Promise<{ id: string; goOn: () => void }> {
  const held = p.a.hold("POST /checkpoints/:id/dump");
  const { id } = await p.start();
  await held.arrived;
  return { id, goOn: held.release };
}

/** With the resume call at the destination, where nothing is done about it. */
export async function startToResume(p: TestPlanner): Promise<string> {
  p.b.fail("POST /restores/:id/resume", { kind: "hung" });
  const { id } = await p.start();
  await waitFor(() => p.world.calls.includes("b POST /restores/:id/resume"));
  return id;
}

export async function withStore<T>(p: TestPlanner, work: (store: Store) => T): Promise<T> {
  await p.crash();
  const store = openStore(p.stateDir);
  const result = work(store);
  store.close();
  p.restart();
  return result;
}
