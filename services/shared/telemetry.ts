/**
 * OpenTelemetry traces: one trace per migration over all services. The exporter (OTLP over HTTP, protobuf) and all
 * else are configured by the standard OTEL_* variables; without an endpoint nothing is exported, but trace ids and
 * the propagation of context work all the same.
 */
import {
  context,
  propagation,
  SpanKind,
  SpanStatusCode,
  trace,
  type Attributes,
  type Context,
  type Span,
} from "@opentelemetry/api";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { NodeTracerProvider } from "@opentelemetry/sdk-trace-node";
import { ATTR_SERVICE_NAME } from "@opentelemetry/semantic-conventions";
import { messageOf } from "./errors.ts";

export interface Telemetry {
  /** Sends what is buffered and stops; bounded by OTEL_EXPORTER_OTLP_TIMEOUT. */
  shutdown(): Promise<void>;
}

/** Registers the global tracer provider. Called once per process, by main. */
export function startTelemetry(service: string, env: Readonly<Record<string, string | undefined>>): Telemetry {
  const wanted =
    env["OTEL_SDK_DISABLED"] !== "true" &&
    env["OTEL_TRACES_EXPORTER"] !== "none" &&
    (env["OTEL_EXPORTER_OTLP_ENDPOINT"] ?? env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]) !== undefined;
  // A name of our own for each service, since the trace is about which of them the time went to.
  const name = env["OTEL_SERVICE_NAME"] ?? `dmigrate-${service}`;
  const provider = new NodeTracerProvider({
    resource: defaultResource()
      .merge(detectResources({ detectors: [envDetector] }))
      .merge(resourceFromAttributes({ [ATTR_SERVICE_NAME]: name })),
    spanProcessors: wanted ? [new BatchSpanProcessor(new OTLPTraceExporter())] : [],
  });
  provider.register();
  return { shutdown: () => provider.shutdown() };
}

const tracer = () => trace.getTracer("dmigrate");

export interface SpanOptions {
  kind?: SpanKind;
  attributes?: Attributes;
  parent?: Context;
}

/** Runs `work` in a span of this name; its failure is recorded on the span and thrown on. */
export async function withSpan<T>(name: string, options: SpanOptions, work: (span: Span) => Promise<T>): Promise<T> {
  const { kind = SpanKind.INTERNAL, attributes = {}, parent = context.active() } = options;
  return tracer().startActiveSpan(name, { kind, attributes }, parent, async (span) => {
    try {
      return await work(span);
    } catch (error) {
      span.recordException(error instanceof Error ? error : new Error(String(error)));
      span.setStatus({ code: SpanStatusCode.ERROR, message: messageOf(error) });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** A span whose begin and end are known only afterwards, such as the downtime; times in epoch milliseconds. */
export function recordSpan(
  name: string,
  startMs: number,
  endMs: number,
  attributes: Attributes,
  parent: Context = context.active(),
): void {
  tracer().startSpan(name, { startTime: startMs, attributes }, parent).end(endMs);
}

/** The active trace id, or undefined outside any span. */
export function currentTraceId(): string | undefined {
  const id = trace.getActiveSpan()?.spanContext().traceId;
  return id === undefined || /^0+$/.test(id) ? undefined : id;
}

/** Headers that carry the active span to the next service (W3C Trace Context). */
export function traceHeaders(): Record<string, string> {
  const headers: Record<string, string> = {};
  propagation.inject(context.active(), headers);
  return headers;
}

/** The context a caller sent along, or the active one. */
export function contextFrom(headers: Record<string, string>): Context {
  return propagation.extract(context.active(), headers);
}
