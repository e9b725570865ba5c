/** The pager's HTTP routes. */
import { createRoute, z } from "@hono/zod-openapi";
import { migrationParams } from "../shared/contracts/common.ts";
import { createPagerSchema, pagerSchema, servePagerQuery, waitPagerQuery } from "../shared/contracts/pager.ts";
import { json, jsonBody, problems, type App } from "../shared/http.ts";
import type { Pagers } from "./pagers.ts";

const deletePagerQuery = z.strictObject({ force: z.stringbool().default(false) });

export function registerRoutes(app: App, pagers: Pagers): void {
  app.openapi(
    createRoute({
      method: "post",
      path: "/pagers",
      summary: "Connect to the source, before the container is frozen",
      request: jsonBody(createPagerSchema),
      responses: { 201: json(pagerSchema, "connected"), ...problems },
    }),
    async (c) => c.json((await pagers.create(c.req.valid("json"))).report(), 201),
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/pagers/{id}/serve",
      summary: "The images are there (with when=received, once they are): a restore may begin after the answer",
      request: { params: migrationParams, query: servePagerQuery },
      responses: { 200: json(pagerSchema, "a restore may connect"), ...problems },
    }),
    async (c) => {
      const pager = await pagers.get(c.req.valid("param").id);
      if (c.req.valid("query").when === "received") await pager.untilReceived(c.req.raw.signal);
      await pager.serve();
      return c.json(pager.report(), 200);
    },
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/pagers/{id}",
      summary: "Progress and statistics; with until=cached or drained, once it is or has failed, or waitMs are over",
      request: { params: migrationParams, query: waitPagerQuery },
      responses: { 200: json(pagerSchema, "as it is now"), ...problems },
    }),
    async (c) => {
      const { until, waitMs } = c.req.valid("query");
      const pager = await pagers.get(c.req.valid("param").id);
      if (until !== undefined) await pager.wait(until, waitMs);
      return c.json(pager.report(), 200);
    },
  );
  app.openapi(
    createRoute({
      method: "delete",
      path: "/pagers/{id}",
      summary: "End the pager; 409 while processes here may still need pages from the source, unless force=true",
      request: { params: migrationParams, query: deletePagerQuery },
      responses: { 200: json(z.object({ deleted: z.boolean() }), "gone"), ...problems },
    }),
    async (c) => {
      const deleted = await pagers.remove(c.req.valid("param").id, c.req.valid("query").force);
      return c.json({ deleted }, 200);
    },
  );
}
