/**
 * What every service's HTTP side has in common: authentication, tracing, problems, body limit, health, readiness,
 * OpenAPI and metrics. A service adds its own routes to the app that `createApp` returns.
 */
import { timingSafeEqual, createHash } from "node:crypto";
import { createRoute, OpenAPIHono, z, type RouteConfig } from "@hono/zod-openapi";
import { SpanKind } from "@opentelemetry/api";
import type { Context, ErrorHandler, MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { HTTPException } from "hono/http-exception";
import { routePath } from "hono/route";
import { Histogram, Registry } from "prom-client";
import {
  healthSchema,
  nodeResourcesSchema,
  problemSchema,
  readinessSchema,
  type Check,
  type NodeResources,
  type Problem,
} from "./contracts/common.ts";
import { asDmigrateError, DmigrateError, messageOf, statusOf } from "./errors.ts";
import type { Log } from "./log.ts";
import { contextFrom, currentTraceId, inService, withSpan } from "./telemetry.ts";

export interface AppEnv {
  Variables: { log: Log };
}
export type App = OpenAPIHono<AppEnv>;

/** One of the five services, as a process puts it on its port: alone, or with others in the node agent. */
export interface Service {
  readonly name: string;
  /** Adds the service's routes. */
  register(app: App): void;
  /** What it depends on: each check with what to mend. */
  checks(): Promise<Check[]>;
  /** Ends its work: children, connections, timers. Called once. */
  stop(): Promise<void>;
}

export interface AppOptions {
  title: string;
  services: readonly Service[];
  token: string | undefined;
  log: Log;
  metrics: Registry;
  /** Present on nodes: GET /resources. */
  resources?: () => Promise<NodeResources>;
}

/** 2 MiB: a container's inspect data is the largest body there is. */
const maxBodyBytes = 2 << 20;
const openPaths = new Set(["/healthz", "/readyz"]);

/** The whole app of a process: common routes, then each service's. */
export function createApp(options: AppOptions): App {
  const { services, log, metrics } = options;
  const app = new OpenAPIHono<AppEnv>({
    defaultHook: (result) => {
      if (!result.success) throw invalidRequest(result.error.issues);
    },
  });
  const owners = new Map<string, string>();
  app.use(observe(options, owners));
  if (options.token !== undefined) app.use(requireToken(options.token));
  app.use(
    bodyLimit({
      maxSize: maxBodyBytes,
      onError: () => {
        throw new DmigrateError("body-too-large", `the body is longer than ${maxBodyBytes} bytes`);
      },
    }),
  );
  app.onError(renderError(log));
  app.notFound((c) =>
    problem(
      c,
      new DmigrateError(
        "not-found",
        `there is no ${c.req.method} ${c.req.path}; GET /openapi.json lists what there is`,
      ),
    ),
  );
  app.openAPIRegistry.registerComponent("securitySchemes", "token", { type: "http", scheme: "bearer" });
  app.doc31("/openapi.json", {
    openapi: "3.1.0",
    info: { title: options.title, version: "1" },
    security: [{ token: [] }],
  });
  addCommonRoutes(app, options);
  for (const service of services) {
    const known = app.routes.length;
    service.register(app);
    for (const { path } of app.routes.slice(known)) owners.set(firstSegment(path), service.name);
  }
  app.get("/metrics", async (c) => c.text(await metrics.metrics(), 200, { "content-type": metrics.contentType }));
  return app;
}

/** Anyone may ask, and checks start processes: one look serves all who ask while it lasts, and shortly after. */
const readinessMs = 1_000;

function sharedChecks(services: readonly Service[]): () => Promise<Check[]> {
  let last: { checks: Promise<Check[]>; doneAt: number } | undefined;
  return () => {
    if (last !== undefined && performance.now() - last.doneAt < readinessMs) return last.checks;
    const look = {
      checks: Promise.all(services.map((service) => service.checks())).then((found) => found.flat()),
      doneAt: Infinity,
    };
    const done = (): void => void (look.doneAt = performance.now());
    look.checks.then(done, done);
    last = look;
    return look.checks;
  };
}

function addCommonRoutes(app: App, { services, resources }: AppOptions): void {
  const look = sharedChecks(services);
  app.openapi(
    createRoute({
      method: "get",
      path: "/healthz",
      summary: "The process answers",
      responses: { 200: json(healthSchema, "alive") },
    }),
    (c) => c.json({ status: "ok" as const, services: services.map(({ name }) => name) }, 200),
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/readyz",
      summary: "What the service depends on is there",
      responses: {
        200: json(readinessSchema, "ready"),
        503: json(readinessSchema, "not ready; `fix` says what to do"),
      },
    }),
    async (c) => {
      const checks = await look();
      const ready = checks.every(({ ok }) => ok);
      return c.json({ ready, checks }, ready ? 200 : 503);
    },
  );
  if (resources === undefined) return;
  app.openapi(
    createRoute({
      method: "get",
      path: "/resources",
      summary: "What this node has to spend on a migration",
      responses: { 200: json(nodeResourcesSchema, "measured now"), ...problems },
    }),
    async (c) => c.json(await resources(), 200),
  );
}

const firstSegment = (path: string): string => path.split("/")[1] ?? "";

/**
 * A span, a log line and a measurement for each request; the caller's trace goes on in it, in the name of the service
 * that owns the path (`owners`: first path segment → service).
 */
function observe(
  { log, metrics, services }: AppOptions,
  owners: ReadonlyMap<string, string>,
): MiddlewareHandler<AppEnv> {
  const seconds = new Histogram({
    name: "dmigrate_http_request_duration_seconds",
    help: "Time to answer a request",
    labelNames: ["method", "route", "status"],
    buckets: [0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60],
    registers: [metrics],
  });
  return async (c, next) => {
    const { method, path } = c.req;
    const started = performance.now();
    const handle = async (): Promise<void> => {
      const migrationId = /\/(m-[0-9a-f]{16})(?:\/|$)/.exec(path)?.[1];
      const traceId = currentTraceId();
      c.set("log", log.child({ ...(migrationId && { migrationId }), ...(traceId && { traceId }) }));
      await next();
      const ms = performance.now() - started;
      seconds.observe({ method, route: routeOf(c), status: String(c.res.status) }, ms / 1000);
      c.get("log").debug({ method, path, status: c.res.status, ms: Math.round(ms * 10) / 10 }, "request");
    };
    if (openPaths.has(path) || path === "/metrics") return handle();
    const attributes = { "http.request.method": method, "url.path": path };
    await withSpan(
      `${method} ${path.replaceAll(/m-[0-9a-f]{16}/g, ":id")}`,
      {
        kind: SpanKind.SERVER,
        attributes,
        parent: inService(contextFrom(c.req.header()), owners.get(firstSegment(path)) ?? services[0]?.name ?? ""),
      },
      async (span) => {
        await handle();
        span.setAttributes({ "http.route": routeOf(c), "http.response.status_code": c.res.status });
        if (c.error !== undefined) span.recordException(c.error);
      },
    );
  };
}

/** The route's pattern, so that ids never become label values; unmatched paths are counted together. */
function routeOf(c: Context<AppEnv>): string {
  const route = routePath(c);
  return route === "/*" || route === "*" ? "other" : route;
}

function requireToken(token: string): MiddlewareHandler<AppEnv> {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  const wanted = digest(`Bearer ${token}`);
  return async (c, next) => {
    // Digests have one length, so the comparison takes the same time whatever was sent.
    if (!openPaths.has(c.req.path) && !timingSafeEqual(digest(c.req.header("authorization") ?? ""), wanted)) {
      throw new DmigrateError(
        "unauthorized",
        "this route needs the header Authorization: Bearer <token> with this service's token",
      );
    }
    await next();
  };
}

function renderError(log: Log): ErrorHandler<AppEnv> {
  return (thrown, c) => {
    const error = toDmigrateError(thrown);
    // Unset when the failure came before the first middleware had run.
    const logged = c.get("log") as Log | undefined;
    const level = statusOf[error.code] >= 500 ? "error" : "info";
    (logged ?? log)[level](
      { code: error.code, err: level === "error" ? error : undefined, reasons: error.reasons },
      error.message,
    );
    return problem(c, error);
  };
}

function toDmigrateError(thrown: unknown): DmigrateError {
  if (thrown instanceof HTTPException) {
    // hono throws these for a body that is not JSON, and for the body limit.
    const code = thrown.status === 413 ? "body-too-large" : thrown.status < 500 ? "invalid-request" : "internal";
    const detail = code === "invalid-request" ? "the body is not valid JSON" : thrown.message;
    return new DmigrateError(code, detail, {
      cause: thrown,
      fields: code === "invalid-request" ? [{ field: "(body)", message: detail }] : [],
    });
  }
  return asDmigrateError(thrown, "internal", "unexpected failure");
}

function problem(c: Context<AppEnv>, error: DmigrateError): Response {
  const status = statusOf[error.code];
  const traceId = currentTraceId();
  const body: Problem = {
    type: `urn:dmigrate:problem:${error.code}`,
    title: error.code.replaceAll("-", " "),
    status,
    detail: messageOf(error),
    code: error.code,
    ...(error.fields.length > 0 && { errors: error.fields }),
    ...(error.reasons.length > 0 && { reasons: error.reasons }),
    ...(traceId !== undefined && { traceId }),
  };
  return c.body(JSON.stringify(body), status, { "content-type": "application/problem+json" });
}

interface Issue {
  readonly code?: string | undefined;
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly keys?: readonly string[];
}

/** zod's issues as our 400, each with the field at fault; an unknown field is named itself. */
export function invalidRequest(issues: readonly Issue[]): DmigrateError {
  const fields = issues.flatMap((issue) => {
    const path = issue.path.map(String);
    if (issue.code === "unrecognized_keys" && issue.keys !== undefined) {
      return issue.keys.map((key) => ({ field: [...path, key].join("."), message: "unknown field" }));
    }
    return [{ field: path.join(".") || "(body)", message: issue.message }];
  });
  const text = fields.map(({ field, message }) => `${field}: ${message}`).join("; ");
  return new DmigrateError("invalid-request", `the request is not valid: ${text}`, { fields });
}

/** A JSON response of a route. */
export function json<Schema extends z.ZodType>(schema: Schema, description: string) {
  return { content: { "application/json": { schema } }, description };
}

/** A JSON request body of a route. It must be there, and of this type. */
export function jsonBody<Schema extends z.ZodType>(schema: Schema) {
  return { body: { required: true, content: { "application/json": { schema } } } } as const;
}

/** One that may be left out: the schema then gets an empty object. */
export function optionalJsonBody<Schema extends z.ZodType>(schema: Schema) {
  return { body: { required: false, content: { "application/json": { schema } } } } as const;
}

/** The problems that any route may answer with. */
export const problems = {
  "4XX": {
    content: { "application/problem+json": { schema: problemSchema } },
    description: "the request is at fault; `errors` or `reasons` say where",
  },
  "5XX": {
    content: { "application/problem+json": { schema: problemSchema } },
    description: "the service, Docker, CRIU or another service failed",
  },
} satisfies RouteConfig["responses"];
