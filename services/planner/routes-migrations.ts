/** HTTP routes for migrations, their events, and dry runs. */
import { createRoute, z } from "@hono/zod-openapi";
import { migrationParams } from "../shared/contracts/common.ts";
import {
  abandonNodeSchema,
  createMigrationSchema,
  listEventsQuery,
  listMigrationsQuery,
  migrationListSchema,
  migrationSchema,
  planSchema,
} from "../shared/contracts/planner.ts";
import { json, jsonBody, problems, type App } from "../shared/http.ts";
import { streamEvents, type EventStreamDeps } from "./event-stream.ts";
import type { Migrations } from "./migrations.ts";

export function addMigrationRoutes(app: App, migrations: Migrations, streams: EventStreamDeps): void {
  app.openapi(
    createRoute({
      method: "post",
      path: "/migrations",
      summary: "Check and plan a migration, and start it",
      description:
        "422 lists every reason against it at once; then nothing was touched. 409: one of this container is under way.",
      request: jsonBody(createMigrationSchema),
      responses: { 202: json(migrationSchema, "started; follow it by its events"), ...problems },
    }),
    async (c) => {
      const migration = await migrations.start(c.req.valid("json"));
      c.header("location", `/migrations/${migration.id}`);
      return c.json(migration, 202);
    },
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/migrations",
      summary: "Migrations, newest first",
      request: { query: listMigrationsQuery },
      responses: { 200: json(migrationListSchema, "those under way and the latest that have ended"), ...problems },
    }),
    (c) => c.json({ migrations: migrations.list(c.req.valid("query").limit) }, 200),
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/migrations/{id}",
      summary: "A migration",
      request: { params: migrationParams },
      responses: { 200: json(migrationSchema, "as it is now"), ...problems },
    }),
    (c) => c.json(migrations.get(c.req.valid("param").id), 200),
  );
  app.openapi(
    createRoute({
      method: "delete",
      path: "/migrations/{id}",
      summary: "Cancel: the container runs on at the source. Refused (409) once it may run at the destination",
      request: { params: migrationParams },
      responses: { 202: json(migrationSchema, "it ends as aborted; follow it by its events"), ...problems },
    }),
    (c) => c.json(migrations.cancel(c.req.valid("param").id), 202),
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/migrations/{id}/abandon",
      summary:
        "The operator's word that a node is gone for good: powered off or fenced, it never runs this container again",
      description:
        "For a migration that waits for a node for ever. In aborting, what is left on that node is told by an event and not undone. In resuming, " +
        "with the destination named, the container is taken not to run there, and the source is thawed: if the word is wrong, it may run twice. In " +
        "resuming, with the source named, the destination decides as before. In draining (the destination only) and committing, without the " +
        "destination it ends as failed, and its error says what the source still has; without the source it is committed. 409: another phase, or " +
        "the node's agent answers; the detail says what to do instead.",
      request: { params: migrationParams, ...jsonBody(abandonNodeSchema) },
      responses: {
        202: json(
          migrationSchema,
          "it goes on without the node, also after a restart of the planner; follow it by its events",
        ),
        ...problems,
      },
    }),
    async (c) => c.json(await migrations.abandon(c.req.valid("param").id, c.req.valid("json").node), 202),
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/migrations/{id}/events",
      summary: "The migration's events, past and (unless follow=false) to come, until it ends",
      description:
        "Each event: `event` its type, `id` its number, `data` a MigrationEvent. Last-Event-ID, or `after`, leaves out those up to it. " +
        "Of progress events only the latest is kept.",
      request: {
        params: migrationParams,
        query: listEventsQuery,
        headers: z.object({ "last-event-id": z.coerce.number().int().min(0).optional() }),
      },
      responses: {
        200: { description: "server-sent events", content: { "text/event-stream": { schema: z.string() } } },
        ...problems,
      },
    }),
    (c) => {
      const { id } = c.req.valid("param");
      migrations.get(id);
      const { after, follow } = c.req.valid("query");
      const range = { afterSeq: c.req.valid("header")["last-event-id"] ?? after, follow };
      return c.body(streamEvents(streams, id, range), 200, {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        "x-accel-buffering": "no",
      });
    },
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/plans",
      summary: "Dry run: the plan of a migration, and every reason against it",
      request: jsonBody(createMigrationSchema),
      responses: { 200: json(planSchema, "`refusals` is empty when it can start"), ...problems },
    }),
    async (c) => c.json(await migrations.plan(c.req.valid("json")), 200),
  );
}
