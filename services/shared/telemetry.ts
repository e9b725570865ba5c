/**
 * OpenTelemetry traces: one trace per migration over all services. The exporter (OTLP over HTTP, protobuf) and all
 * else are configured by the standard OTEL_* variables; without an endpoint nothing is exported, but trace ids and
 * the propagation of context work all the same.
 */
import {
  context,
  createContextKey,
  propagation,
  SpanKind,
  SpanStatusCode,
  trace,
  type Attributes,
  type Context,
  type Span,
  type Tracer,
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

const serviceKey = createContextKey("dmigrate.service");
const tracers = new Map<string, Tracer>();

/**
 * Sets up tracing for the services of this process; called once, by main. Each service is a service of its own in the
 * traces (`service.name`), also where several share a process, since the trace is about which of them the time went to.
 */
export function startTelemetry(
  services: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Telemetry {
  const wanted =
    env["OTEL_SDK_DISABLED"] !== "true" &&
    env["OTEL_TRACES_EXPORTER"] !== "none" &&
    (env["OTEL_EXPORTER_OTLP_ENDPOINT"] ?? env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]) !== undefined;
  const base = defaultResource().merge(detectResources({ detectors: [envDetector] }));
  const nameOf = (service: string): string => {
    const prefix = env["OTEL_SERVICE_NAME"];
    if (prefix === undefined) return `dmigrate-${service}`;
    return services.length === 1 ? prefix : `${prefix}-${service}`;
  };
  const providers = services.map((service) => {
    const provider = new NodeTracerProvider({
      resource: base.merge(resourceFromAttributes({ [ATTR_SERVICE_NAME]: nameOf(service) })),
      spanProcessors: wanted ? [new BatchSpanProcessor(new OTLPTraceExporter())] : [],
    });
    tracers.set(service, provider.getTracer("dmigrate"));
    return provider;
  });
  // The first also brings the context manager and the W3C propagator.
  providers[0]?.register();
  return {
    shutdown: async () => {
      await Promise.all(providers.map((provider) => provider.shutdown()));
    },
  };
}

/** A context in which spans belong to this service. */
export function inService(parent: Context, service: string): Context {
  return parent.setValue(serviceKey, service);
}

function tracerIn(active: Context): Tracer {
  return tracers.get(String(active.getValue(serviceKey))) ?? trace.getTracer("dmigrate");
}

export interface SpanOptions {
  kind?: SpanKind;
  attributes?: Attributes;
  parent?: Context;
}

/** Runs `work` in a span of this name; its failure is recorded on the span and thrown on. */
export async function withSpan<T>(name: string, options: SpanOptions, work: (span: Span) => Promise<T>): Promise<T> {
  const { kind = SpanKind.INTERNAL, attributes = {}, parent = context.active() } = options;
  return tracerIn(parent).startActiveSpan(name, { kind, attributes }, parent, async (span) => {
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
  tracerIn(parent).startSpan(name, { startTime: startMs, attributes }, parent).end(endMs);
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
