/** The restorer's HTTP routes. */
import { createRoute, z } from "@hono/zod-openapi";
import { migrationParams } from "../shared/contracts/common.ts";
import {
  checkRestoreSchema,
  createRestoreSchema,
  finishRestoreSchema,
  imageParams,
  imagePresenceSchema,
  pullImageSchema,
  restoreCheckSchema,
  restoredContainerSchema,
  restoreSchema,
  rollBackQuery,
} from "../shared/contracts/restorer.ts";
import { json, jsonBody, problems, type App } from "../shared/http.ts";
import { withSpan } from "../shared/telemetry.ts";
import type { Restorer } from "./restorer.ts";

export function addRestorerRoutes(app: App, restorer: Restorer): void {
  app.openapi(
    createRoute({
      method: "get",
      path: "/images/{imageId}",
      summary: "Is this image here?",
      request: { params: imageParams },
      responses: { 200: json(imagePresenceSchema, "whether it is"), ...problems },
    }),
    async (c) => {
      const { imageId } = c.req.valid("param");
      return c.json({ imageId, present: await restorer.hasImage(imageId) }, 200);
    },
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/images/{imageId}/pull",
      summary: "Pull this image from a registry; a call that is given up ends the pull",
      request: { params: imageParams, ...jsonBody(pullImageSchema) },
      responses: { 200: json(imagePresenceSchema, "it is here, under its id"), ...problems },
    }),
    async (c) => {
      const { imageId } = c.req.valid("param");
      const { ref } = c.req.valid("json");
      await withSpan("pull image", {}, () => restorer.pullImage(imageId, ref, c.req.raw.signal));
      return c.json({ imageId, present: true }, 200);
    },
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/restores/check",
      summary: "What would stop this container from being created here",
      request: jsonBody(checkRestoreSchema),
      responses: { 200: json(restoreCheckSchema, "every reason at once; none when it can come"), ...problems },
    }),
    async (c) => {
      const request = c.req.valid("json");
      return c.json(await restorer.check(request, request.imageLayers), 200);
    },
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/restores",
      summary: "Create the container and start it as far as the runtime wrapper, where it waits for its checkpoint",
      request: jsonBody(createRestoreSchema),
      responses: { 201: json(restoreSchema, "it waits; repeated, the restore as it is"), ...problems },
    }),
    async (c) => c.json(await restorer.create(c.req.valid("json")), 201),
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/restores/{id}",
      summary: "A restore",
      request: { params: migrationParams },
      responses: { 200: json(restoreSchema, "as it is now"), ...problems },
    }),
    async (c) => c.json(await restorer.get(c.req.valid("param").id), 200),
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/restores/{id}/container",
      summary: "What Docker says of the container since its resume",
      request: { params: migrationParams },
      responses: { 200: json(restoredContainerSchema, "as it is now"), ...problems },
    }),
    async (c) => c.json(await restorer.container(c.req.valid("param").id), 200),
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/restores/{id}/resume",
      summary: "Restore from the images that are here now; answers once the container is proven to run",
      description:
        "restore-failed is answered only when it is certain that nothing of the container runs here, nor will.",
      request: { params: migrationParams },
      responses: { 200: json(restoreSchema, "it runs"), ...problems },
    }),
    async (c) => c.json(await restorer.resume(c.req.valid("param").id), 200),
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/restores/{id}/pause",
      summary: "Let the restored container run no further: its memory cannot be relied on",
      request: { params: migrationParams },
      responses: { 200: json(restoreSchema, "docker unpause lets it run on"), ...problems },
    }),
    async (c) => c.json(await restorer.pause(c.req.valid("param").id), 200),
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/restores/{id}/finish",
      summary: "Give the container its restart policy, and remove the leftover that it replaced",
      request: { params: migrationParams, ...jsonBody(finishRestoreSchema) },
      responses: { 200: json(restoreSchema, "it is Docker's own from here on"), ...problems },
    }),
    async (c) => c.json(await restorer.finish(c.req.valid("param").id, c.req.valid("json").restartPolicy), 200),
  );
  app.openapi(
    createRoute({
      method: "delete",
      path: "/restores/{id}",
      summary: "Roll back: this node is as it was before. Refused once resumed",
      request: { params: migrationParams, query: rollBackQuery },
      responses: { 200: json(z.object({ deleted: z.boolean() }), "false when there was none"), ...problems },
    }),
    async (c) => {
      const { containerId } = c.req.valid("query");
      return c.json({ deleted: await restorer.rollBack(c.req.valid("param").id, containerId) }, 200);
    },
  );
}
