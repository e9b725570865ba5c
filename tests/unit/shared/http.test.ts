import { createRoute, z } from "@hono/zod-openapi";
import { Registry } from "prom-client";
import { describe, expect, it } from "vitest";
import { migrationIdSchema, problemSchema, type Check } from "../../../services/shared/contracts/common.ts";
import { DmigrateError } from "../../../services/shared/errors.ts";
import { createApp, json, jsonBody, problems, type App, type Service } from "../../../services/shared/http.ts";
import { createLog } from "../../../services/shared/log.ts";

const token = "a-token-of-some-length";
const body = z.strictObject({ id: migrationIdSchema, nested: z.strictObject({ pages: z.int().min(0) }) });

class EchoService implements Service {
  readonly name = "echo";
  readonly #checks: Check[];
  constructor(checks: Check[] = []) {
    this.#checks = checks;
  }
  register(app: App): void {
    const route = createRoute({
      method: "post",
      path: "/echoes",
      request: jsonBody(body),
      responses: { 200: json(body, "what was sent"), ...problems },
    });
    app.openapi(route, (c) => c.json(c.req.valid("json"), 200));
    app.get("/refusals", () => {
      throw new DmigrateError("not-migratable", "redis cannot move", {
        reasons: [{ code: "privileged", message: "it is privileged" }],
      });
    });
    app.get("/failures", () => {
      throw new TypeError("x is undefined");
    });
  }
  checks(): Promise<Check[]> {
    return Promise.resolve(this.#checks);
  }
  stop(): Promise<void> {
    return Promise.resolve();
  }
}

const appOf = (service: Service = new EchoService()): App =>
  createApp({ title: "test", services: [service], token, log: createLog("test", "silent"), metrics: new Registry() });

const authorization = { authorization: `Bearer ${token}` };
const post = (app: App, content: string, headers: Record<string, string> = {}) =>
  app.request("/echoes", {
    method: "POST",
    body: content,
    headers: { ...authorization, "content-type": "application/json", ...headers },
  });

async function problemOf(response: Response) {
  expect(response.headers.get("content-type")).toBe("application/problem+json");
  return problemSchema.parse(await response.json());
}

const valid = { id: "m-0123456789abcdef", nested: { pages: 1 } };

describe("authentication", () => {
  it.each([
    ["no header", {}],
    ["another token", { authorization: "Bearer another-token-of-length" }],
    ["another scheme", { authorization: `Basic ${token}` }],
  ])("refuses a request with %s", async (_, headers) => {
    for (const path of ["/echoes", "/openapi.json", "/metrics", "/nowhere"]) {
      const response = await appOf().request(path, { headers });
      expect(response.status, path).toBe(401);
      expect((await problemOf(response)).code).toBe("unauthorized");
    }
  });

  it("lets everyone ask for health and readiness", async () => {
    expect((await appOf().request("/healthz")).status).toBe(200);
    expect((await appOf().request("/readyz")).status).toBe(200);
  });
});

describe("bad input", () => {
  it.each([
    ["an unknown field", { ...valid, speed: 1 }, "speed"],
    ["an unknown nested field", { ...valid, nested: { pages: 1, x: 2 } }, "nested.x"],
    ["a bad type", { ...valid, nested: { pages: "many" } }, "nested.pages"],
    ["a negative count", { ...valid, nested: { pages: -1 } }, "nested.pages"],
    ["a missing field", { id: valid.id }, "nested"],
    ["an id that is a path", { ...valid, id: "../../etc" }, "id"],
  ])("answers 400 with the field for %s", async (_, content, field) => {
    const response = await post(appOf(), JSON.stringify(content));
    expect(response.status).toBe(400);
    expect((await problemOf(response)).errors?.map((error) => error.field)).toEqual([field]);
  });

  it("answers 400 for a body that is not JSON", async () => {
    const response = await post(appOf(), "{");
    expect(response.status).toBe(400);
    expect((await problemOf(response)).code).toBe("invalid-request");
  });

  it("answers 400 for a body of another content type", async () => {
    const response = await post(appOf(), JSON.stringify(valid), { "content-type": "text/plain" });
    expect(response.status).toBe(400);
  });

  it("answers 413 for a body that is too long", async () => {
    const response = await post(appOf(), JSON.stringify({ ...valid, id: "x".repeat(3 << 20) }));
    expect(response.status).toBe(413);
    expect((await problemOf(response)).code).toBe("body-too-large");
  });
});

describe("answers", () => {
  it("passes a valid request on", async () => {
    const response = await post(appOf(), JSON.stringify(valid));
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual(valid);
  });

  it("gives every reason of a refusal", async () => {
    const response = await appOf().request("/refusals", { headers: authorization });
    expect(response.status).toBe(422);
    expect((await problemOf(response)).reasons).toEqual([{ code: "privileged", message: "it is privileged" }]);
  });

  it("turns an unexpected failure into a problem, and carries on", async () => {
    const app = appOf();
    const response = await app.request("/failures", { headers: authorization });
    expect(response.status).toBe(500);
    expect((await problemOf(response)).code).toBe("internal");
    expect((await app.request("/healthz")).status).toBe(200);
  });

  it("answers 404 with a hint for a path that is not there", async () => {
    const response = await appOf().request("/nowhere", { headers: authorization });
    expect(response.status).toBe(404);
    expect((await problemOf(response)).detail).toContain("/openapi.json");
  });

  it("is not ready as long as one check fails", async () => {
    const checks = [
      { name: "criu", ok: false, detail: "not found", fix: "install criu" },
      { name: "docker", ok: true, detail: "26.1" },
    ];
    const response = await appOf(new EchoService(checks)).request("/readyz");
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({ ready: false, checks });
  });

  it("describes its routes and measures them", async () => {
    const app = appOf();
    await post(app, JSON.stringify(valid));
    const document = (await (await app.request("/openapi.json", { headers: authorization })).json()) as {
      paths: object;
    };
    expect(Object.keys(document.paths)).toEqual(expect.arrayContaining(["/healthz", "/readyz", "/echoes"]));
    const metrics = await (await app.request("/metrics", { headers: authorization })).text();
    expect(metrics).toContain(
      'dmigrate_http_request_duration_seconds_count{method="POST",route="/echoes",status="200"} 1',
    );
  });
});
