/** HTTP routes for the node registry. */
import { createRoute, z } from "@hono/zod-openapi";
import { nodeNameSchema } from "../shared/contracts/common.ts";
import { nodeListSchema, nodeSchema, putNodeSchema } from "../shared/contracts/planner.ts";
import { json, jsonBody, problems, type App } from "../shared/http.ts";
import type { Nodes } from "./nodes.ts";

const nodeParams = z.object({ name: nodeNameSchema });

export function addNodeRoutes(app: App, nodes: Nodes): void {
  app.openapi(
    createRoute({
      method: "get",
      path: "/nodes",
      summary: "Registered nodes, whether they answer, and what they have to spend",
      responses: { 200: json(nodeListSchema, "each was given 2 s to answer"), ...problems },
    }),
    async (c) => c.json({ nodes: await nodes.list() }, 200),
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/nodes/{name}",
      summary: "A node",
      request: { params: nodeParams },
      responses: { 200: json(nodeSchema, "as it is now"), ...problems },
    }),
    async (c) => c.json(await nodes.get(c.req.valid("param").name), 200),
  );
  app.openapi(
    createRoute({
      method: "put",
      path: "/nodes/{name}",
      summary: "Register a node, or change its registration",
      request: { params: nodeParams, ...jsonBody(putNodeSchema) },
      responses: { 200: json(nodeSchema, "registered, whether or not it answers now"), ...problems },
    }),
    async (c) => c.json(await nodes.put(c.req.valid("param").name, c.req.valid("json")), 200),
  );
  app.openapi(
    createRoute({
      method: "delete",
      path: "/nodes/{name}",
      summary: "Forget a node. Refused while a migration needs it",
      request: { params: nodeParams },
      responses: { 200: json(z.object({ deleted: z.boolean() }), "false when there was none"), ...problems },
    }),
    (c) => c.json({ deleted: nodes.delete(c.req.valid("param").name) }, 200),
  );
}
