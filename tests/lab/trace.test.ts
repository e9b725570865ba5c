import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { connectLab } from "../helpers/lab/connect.ts";
import { removeContainers } from "../helpers/node-state.ts";
import type { ReceivedSpan } from "../helpers/otlp-receiver.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { pollUntil } from "../helpers/poll-until.ts";
import { startContainer } from "../helpers/workloads.ts";
import type { Migration } from "../../services/shared/contracts/planner.ts";

const stages = ["plan", "prepare", "freeze", "dump", "ship", "resume", "drain", "commit"];
const services = ["planner", "dumper", "shipper", "pager", "restorer"].map((name) => `dmigrate-${name}`);

/** Spans whose parent was not told of; the request that starts a migration has none. */
const roots = (spans: readonly ReceivedSpan[]): ReceivedSpan[] =>
  spans.filter(({ parentSpanId }) => !spans.some(({ spanId }) => spanId === parentSpanId));

describe("the trace of a migration", () => {
  const { nodes, planner } = connectLab();
  let migration: Migration;
  let spans: ReceivedSpan[];

  beforeAll(async () => {
    await startContainer(nodes.a, "traced", ["sleep", "infinity"]);
    migration = await new PlannerUser(planner).migrate({ container: "traced", from: "a", to: "b" });
    spans = await pollUntil("the trace of all services", 20_000, async () => {
      const answer = await fetch(`http://127.0.0.1:${inject("otlpPort")}/spans`);
      const received = ((await answer.json()) as ReceivedSpan[]).filter(({ traceId }) => traceId === migration.traceId);
      const complete = services.every((name) => received.some(({ service }) => service === name));
      // Each service tells of its spans when it likes, a span's parent perhaps after it.
      return complete && roots(received).length === 1 ? received : undefined;
    });
  });

  afterAll(() => removeContainers([nodes.a, nodes.b]));

  const named = (name: string): ReceivedSpan => {
    const found = spans.filter((span) => span.name === name && span.service === "dmigrate-planner");
    expect(found.map(({ name: text }) => text)).toEqual([name]);
    return found[0] as ReceivedSpan;
  };

  it("is one tree over all five services", () => {
    const byId = new Map(spans.map((span) => [span.spanId, span]));
    const root = named("migration");
    for (const span of spans) {
      let at = span;
      while (byId.has(at.parentSpanId)) at = byId.get(at.parentSpanId) as ReceivedSpan;
      // The request that started it all is the migration's parent, and has itself none.
      expect([root.spanId, root.parentSpanId], `${span.service} ${span.name}`).toContain(at.spanId);
    }
    expect(new Set(spans.map(({ service }) => service))).toEqual(new Set(services));
  });

  it("has a span for each stage, below the migration's", () => {
    const root = named("migration");
    for (const stage of stages) {
      const span = named(stage);
      expect(span.parentSpanId, stage).toBe(root.spanId);
      expect(span.endMs).toBeGreaterThan(span.startMs);
      const children = spans.filter(({ parentSpanId }) => parentSpanId === span.spanId);
      if (stage !== "plan") expect(children.length, stage).toBeGreaterThan(0);
    }
  });

  it("has the downtime, with its length, from the freeze to the resume", () => {
    const downtime = named("downtime");
    expect(downtime.attributes["dmigrate.downtime_ms"]).toBeCloseTo(migration.downtimeMs ?? 0, 0);
    expect(downtime.endMs - downtime.startMs).toBeCloseTo(migration.downtimeMs ?? 0, -1);
    // A span begins at a whole millisecond, rounded down, and ends that much too early.
    expect(downtime.startMs).toBeLessThan(named("freeze").endMs + 1);
    expect(downtime.startMs).toBeGreaterThanOrEqual(named("freeze").startMs - 1);
    expect(downtime.endMs).toBeGreaterThanOrEqual(named("resume").endMs - 20);
  });
});
