/** A migration's trace as a picture: a bar for each span, indented below its parent, the downtime shaded. Pure. */
import type { ReceivedSpan } from "../../otlp-receiver.ts";
import { colours, element, label, picture } from "./svg.ts";
import { ticks } from "./ticks.ts";

export interface WaterfallOptions {
  readonly title: string;
  /** Spans that took less are left out, ms. */
  readonly leastMs: number;
  /** Only what touches this time is shown; all of the trace when absent. */
  readonly window?: { readonly startMs: number; readonly endMs: number };
}

type Span = Pick<ReceivedSpan, "service" | "name" | "spanId" | "parentSpanId" | "startMs" | "endMs">;

const width = 900;
const left = 330;
const right = 70;
const rowHeight = 16;
const top = 52;

export function waterfall(spans: readonly Span[], { title, leastMs, window }: WaterfallOptions): string {
  const startMs = window?.startMs ?? Math.min(...spans.map((span) => span.startMs));
  const endMs = window?.endMs ?? Math.max(...spans.map((span) => span.endMs));
  if (!(endMs > startMs)) throw new Error("the trace is empty");
  const rows = orderSpans(spans).filter(
    ({ span }) => span.endMs - span.startMs >= leastMs && span.endMs > startMs && span.startMs < endMs,
  );
  const scale = (width - left - right) / (endMs - startMs);
  const place = (ms: number): number => left + (Math.min(Math.max(ms, startMs), endMs) - startMs) * scale;
  const height = top + rows.length * rowHeight + 12;
  const parts = [label(8, 18, title, { "font-size": 14, "font-weight": 600 })];
  const downtime = spans.find(({ name }) => name === "downtime");
  if (downtime !== undefined) {
    const [x, end] = [place(downtime.startMs), place(downtime.endMs)];
    const shade = { fill: colours.accent, "fill-opacity": 0.12 };
    parts.push(element("rect", { x, y: top - 6, width: end - x, height: height - top, ...shade }));
  }
  for (const tick of ticks(endMs - startMs)) {
    const x = left + tick * scale;
    parts.push(element("line", { x1: x, x2: x, y1: top - 8, y2: height - 6, stroke: colours.line }));
    parts.push(label(x, top - 14, `${tick} ms`, { "text-anchor": "middle" }));
  }
  rows.forEach(({ span, depth }, row) => {
    const y = top + row * rowHeight;
    const x = place(span.startMs);
    const fill =
      span.name === "downtime" ? colours.accent : span.service.endsWith("planner") ? colours.theirs : colours.ours;
    parts.push(label(8 + depth * 10, y + 11, `${span.service.replace(/^dmigrate-/, "")}: ${span.name}`));
    parts.push(
      element("rect", { x, y: y + 2, width: Math.max(1, place(span.endMs) - x), height: rowHeight - 4, fill }),
    );
    parts.push(label(place(span.endMs) + 4, y + 11, (span.endMs - span.startMs).toFixed(0)));
  });
  return picture(width, height, title, parts);
}

/** Parents before their children, siblings by their begin. A span whose parent is not there is a root. */
export function orderSpans<T extends Span>(spans: readonly T[]): { span: T; depth: number }[] {
  const known = new Set(spans.map(({ spanId }) => spanId));
  const children = Map.groupBy(spans, ({ parentSpanId }) => (known.has(parentSpanId) ? parentSpanId : ""));
  const visit = (parent: string, depth: number): { span: T; depth: number }[] =>
    (children.get(parent) ?? [])
      .toSorted((one, other) => one.startMs - other.startMs)
      .flatMap((span) => [{ span, depth }, ...visit(span.spanId, depth + 1)]);
  return visit("", 0);
}
