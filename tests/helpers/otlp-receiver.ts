/**
 * An OTLP/HTTP trace receiver: takes what a real exporter sends, decodes the protobuf, and keeps the spans.
 * Field numbers are those of opentelemetry/proto/trace/v1/trace.proto.
 */
import { createServer } from "node:http";
import { buffer } from "node:stream/consumers";
import { createGunzip } from "node:zlib";
import protobuf from "protobufjs";

export interface ReceivedSpan {
  service: string;
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId: string;
  startMs: number;
  endMs: number;
  attributes: Record<string, string | number | boolean>;
}

const field = (type: string, id: number, repeated = false) => ({ type, id, ...(repeated && { rule: "repeated" }) });

const schema = protobuf.Root.fromJSON({
  nested: {
    AnyValue: {
      fields: {
        stringValue: field("string", 1),
        boolValue: field("bool", 2),
        intValue: field("int64", 3),
        doubleValue: field("double", 4),
      },
    },
    KeyValue: { fields: { key: field("string", 1), value: field("AnyValue", 2) } },
    Resource: { fields: { attributes: field("KeyValue", 1, true) } },
    Span: {
      fields: {
        traceId: field("bytes", 1),
        spanId: field("bytes", 2),
        parentSpanId: field("bytes", 4),
        name: field("string", 5),
        startTimeUnixNano: field("fixed64", 7),
        endTimeUnixNano: field("fixed64", 8),
        attributes: field("KeyValue", 9, true),
      },
    },
    ScopeSpans: { fields: { spans: field("Span", 2, true) } },
    ResourceSpans: { fields: { resource: field("Resource", 1), scopeSpans: field("ScopeSpans", 2, true) } },
    ExportTraceServiceRequest: { fields: { resourceSpans: field("ResourceSpans", 1, true) } },
  },
});

interface KeyValue {
  key: string;
  value?: Record<string, string | number | boolean>;
}
interface ExportRequest {
  resourceSpans?: {
    resource?: { attributes?: KeyValue[] };
    scopeSpans?: {
      spans?: {
        traceId: string;
        spanId: string;
        parentSpanId?: string;
        name: string;
        startTimeUnixNano: string;
        endTimeUnixNano: string;
        attributes?: KeyValue[];
      }[];
    }[];
  }[];
}

const hex = (base64: string | undefined): string => Buffer.from(base64 ?? "", "base64").toString("hex");

function attributesOf(pairs: readonly KeyValue[] = []): ReceivedSpan["attributes"] {
  return Object.fromEntries(
    pairs.map(({ key, value = {} }) => {
      const [kind, content = ""] = Object.entries(value)[0] ?? [];
      return [key, kind === "intValue" ? Number(content) : content];
    }),
  );
}

/** Decodes the body of one POST /v1/traces. Throws on bytes that are not the message. */
export function decodeSpans(body: Uint8Array): ReceivedSpan[] {
  const type = schema.lookupType("ExportTraceServiceRequest");
  const request = type.toObject(type.decode(body), { bytes: String, longs: String }) as ExportRequest;
  return (request.resourceSpans ?? []).flatMap(({ resource, scopeSpans }) => {
    const service = String(attributesOf(resource?.attributes)["service.name"]);
    return (scopeSpans ?? []).flatMap(({ spans }) =>
      (spans ?? []).map((span) => ({
        service,
        name: span.name,
        traceId: hex(span.traceId),
        spanId: hex(span.spanId),
        parentSpanId: hex(span.parentSpanId),
        startMs: Number(span.startTimeUnixNano) / 1e6,
        endMs: Number(span.endTimeUnixNano) / 1e6,
        attributes: attributesOf(span.attributes),
      })),
    );
  });
}

export interface OtlpReceiver extends AsyncDisposable {
  port: number;
  spans: readonly ReceivedSpan[];
}

/** Listens on all addresses, since the nodes send from their own network; GET /spans answers what came so far. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  const spans: ReceivedSpan[] = [];
  const server = createServer((request, response) => {
    if (request.method === "GET") {
      response.setHeader("content-type", "application/json").end(JSON.stringify(spans));
      return;
    }
    const body = request.headers["content-encoding"] === "gzip" ? request.pipe(createGunzip()) : request;
    buffer(body).then(
      (bytes) => {
        spans.push(...decodeSpans(bytes));
        response.setHeader("content-type", "application/x-protobuf").end();
      },
      () => response.writeHead(400).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the receiver has no port");
  return {
    port: address.port,
    spans,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
