/** The dumper's HTTP routes. */
import { createRoute, z } from "@hono/zod-openapi";
import { containerRefSchema, migrationParams } from "../shared/contracts/common.ts";
import { containerProfileSchema, type ContainerProfile } from "../shared/contracts/container.ts";
import {
  abortCheckpointSchema,
  checkpointSchema,
  commitCheckpointSchema,
  createCheckpointSchema,
  freezeSchema,
  profileQuery,
} from "../shared/contracts/dumper.ts";
import { json, jsonBody, optionalJsonBody, problems, type App } from "../shared/http.ts";
import type { Checkpoints } from "./checkpoints.ts";

export interface DumperRoutes {
  profile: (ref: string, moveBinds: readonly string[]) => Promise<ContainerProfile>;
  checkpoints: Checkpoints;
}

export function registerRoutes(app: App, { profile, checkpoints }: DumperRoutes): void {
  app.openapi(
    createRoute({
      method: "get",
      path: "/containers/{ref}",
      summary: "What a container is made of, and everything that rules its migration out",
      request: { params: z.object({ ref: containerRefSchema }), query: profileQuery },
      responses: {
        200: json(containerProfileSchema, "the profile; it can move when `refusals` is empty"),
        ...problems,
      },
    }),
    async (c) => c.json(await profile(c.req.valid("param").ref, c.req.valid("query").moveBind), 200),
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/checkpoints",
      summary: "Make ready to freeze and dump a container, which runs on",
      request: jsonBody(createCheckpointSchema),
      responses: { 201: json(checkpointSchema, "ready"), ...problems },
    }),
    async (c) => c.json(await checkpoints.create(c.req.valid("json")), 201),
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/checkpoints/{id}/freeze",
      summary:
        "Freeze the container: restart policy off, no process of it runs any more; with thenDump, dump and seal it next",
      request: { params: migrationParams, ...jsonBody(freezeSchema) },
      responses: { 200: json(checkpointSchema, "frozen"), ...problems },
    }),
    async (c) => c.json(await checkpoints.freeze(c.req.valid("param").id, c.req.valid("json")), 200),
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/checkpoints/{id}",
      summary: "State of a checkpoint",
      request: { params: migrationParams },
      responses: { 200: json(checkpointSchema, "as it is now"), ...problems },
    }),
    async (c) => c.json(await checkpoints.get(c.req.valid("param").id), 200),
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/checkpoints/{id}/dump",
      summary: "Write CRIU's images of everything but the memory; answers when they are complete",
      request: { params: migrationParams },
      responses: { 200: json(checkpointSchema, "dumped"), ...problems },
    }),
    async (c) => c.json(await checkpoints.dump(c.req.valid("param").id), 200),
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/checkpoints/{id}/seal",
      summary: "Keep the container frozen whatever happens to the dumper, until commit or abort",
      request: { params: migrationParams },
      responses: { 200: json(checkpointSchema, "sealed"), ...problems },
    }),
    async (c) => c.json(await checkpoints.seal(c.req.valid("param").id), 200),
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/checkpoints/{id}/commit",
      summary: "End the source container for good",
      request: { params: migrationParams, ...jsonBody(commitCheckpointSchema) },
      responses: { 200: json(checkpointSchema, "committed: the container has stopped"), ...problems },
    }),
    async (c) => c.json(await checkpoints.commit(c.req.valid("param").id, c.req.valid("json")), 200),
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/checkpoints/{id}/abort",
      summary: "Let the source container run on as if nothing had happened",
      request: { params: migrationParams, ...optionalJsonBody(abortCheckpointSchema) },
      responses: {
        200: json(checkpointSchema, "aborted: the container runs, unless it has ended by itself"),
        ...problems,
      },
    }),
    async (c) => c.json(await checkpoints.abort(c.req.valid("param").id, c.req.valid("json")), 200),
  );
}
