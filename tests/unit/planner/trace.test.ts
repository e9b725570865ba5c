import { context, propagation, trace } from "@opentelemetry/api";
import { InMemorySpanExporter, SimpleSpanProcessor, type ReadableSpan } from "@opentelemetry/sdk-trace-base";
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { sourceId } from "../../helpers/fake-world.ts";
import { createTestPlanner } from "../../helpers/test-planner.ts";

const exporter = new InMemorySpanExporter();
const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
beforeAll(() => provider.register());
beforeEach(() => exporter.reset());
afterAll(async () => {
  await provider.shutdown();
  trace.disable();
  context.disable();
  propagation.disable();
});

const stages = ["plan", "prepare", "freeze", "dump", "ship", "resume", "drain", "commit"];

function find(name: string): ReadableSpan {
  const found = exporter.getFinishedSpans().filter((span) => span.name === name);
  expect(found, name).toHaveLength(1);
  return found[0] as ReadableSpan;
}

test("one span per migration, in the caller's trace, with its stages and its downtime", async () => {
  await using planner = await createTestPlanner();
  exporter.reset();
  const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
  const traceparent = `00-${traceId}-00f067aa0ba902b7-01`;
  const response = await planner.request(
    "POST",
    "/migrations",
    { container: "web", from: "a", to: "b" },
    { traceparent },
  );
  const { id } = (await response.json()) as { id: string };
  const migration = await planner.until(id);
  expect(migration.traceId).toBe(traceId);

  const root = find("migration");
  expect(root.spanContext().traceId).toBe(traceId);
  expect(root.attributes).toMatchObject({
    "dmigrate.migration_id": id,
    "dmigrate.container": "web",
    "dmigrate.from": "a",
    "dmigrate.to": "b",
    "dmigrate.bytes": migration.bytesSent,
    "dmigrate.pages.zero": migration.pagesZero,
    "dmigrate.pages.equal": 20,
  });
  const children = exporter
    .getFinishedSpans()
    .filter((span) => span.parentSpanContext?.spanId === root.spanContext().spanId);
  expect(children.map(({ name }) => name).toSorted()).toEqual([...stages, "downtime"].toSorted());

  const downtime = find("downtime");
  expect(downtime.attributes["dmigrate.downtime_ms"]).toBe(migration.downtimeMs);
  const length = downtime.duration[0] * 1000 + downtime.duration[1] / 1e6;
  expect(Math.abs(length - (migration.downtimeMs ?? 0))).toBeLessThan(1.1);

  // Every call to a service lies in a stage.
  const spans = exporter.getFinishedSpans();
  const inStages = new Set(children.map((span) => span.spanContext().spanId));
  const calls = spans.filter(({ name }) =>
    /^(POST|PUT|DELETE) \/(checkpoints|transfers|receives|pagers|restores)/.test(name),
  );
  expect(calls.length).toBeGreaterThan(15);
  for (const call of calls) expect(inStages.has(call.parentSpanContext?.spanId ?? ""), call.name).toBe(true);
});

test("a migration that is taken up again goes on in the same trace", async () => {
  await using planner = await createTestPlanner();
  planner.world.b.drainPolls = 50;
  const { id } = await planner.start();
  const { traceId } = await planner.until(id, "draining");
  await planner.crash();
  planner.restart();
  await planner.until(id, "committed");
  expect(find("recovery").spanContext().traceId).toBe(traceId);
  expect(planner.world.a.containers.get(sourceId)).toBe("stopped");
});
