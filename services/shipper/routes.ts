/** The shipper's HTTP routes: transfers on the source, receives on the destination. */
import { createRoute, z } from "@hono/zod-openapi";
import { migrationParams } from "../shared/contracts/common.ts";
import {
  createReceiveSchema,
  createTransferSchema,
  deletedTransferSchema,
  linkProbeSchema,
  openMemorySchema,
  precopySchema,
  receiveSchema,
  receiveTargetSchema,
  shipImageSchema,
  shippedSchema,
  transferSchema,
  whenSealedQuery,
} from "../shared/contracts/shipper.ts";
import { json, jsonBody, problems, type App } from "../shared/http.ts";
import { withSpan } from "../shared/telemetry.ts";
import type { Receives } from "./receives.ts";
import type { Transfers } from "./transfers.ts";

const deleted = z.object({ deleted: z.boolean() });

export function registerTransferRoutes(app: App, transfers: Transfers): void {
  app.openapi(
    createRoute({
      method: "post",
      path: "/transfers",
      summary: "Source: take a migration's data connections; its secret is their key",
      request: jsonBody(createTransferSchema),
      responses: { 201: json(transferSchema, "the destination may connect"), ...problems },
    }),
    (c) => c.json(transfers.create(c.req.valid("json")).report(), 201),
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/transfers/{id}",
      summary: "Source: what was sent so far",
      request: { params: migrationParams },
      responses: { 200: json(transferSchema, "as it is now"), ...problems },
    }),
    (c) => c.json(transfers.get(c.req.valid("param").id).report(), 200),
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/transfers/{id}/probe",
      summary: "Source: measure what the connections to the destination carry, for about 100 ms",
      request: { params: migrationParams },
      responses: { 200: json(linkProbeSchema, "as the destination has acknowledged it"), ...problems },
    }),
    async (c) => {
      const transfer = transfers.get(c.req.valid("param").id);
      return c.json(await withSpan("probe link", {}, () => transfer.probe(c.req.raw.signal)), 200);
    },
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/transfers/{id}/image",
      summary: "Source: send the image to the destination's Docker",
      request: { params: migrationParams, ...jsonBody(shipImageSchema) },
      responses: { 200: json(shippedSchema, "it is there, under its id"), ...problems },
    }),
    async (c) => {
      const image = c.req.valid("json");
      const transfer = transfers.get(c.req.valid("param").id);
      const shipped = await withSpan("ship image", {}, () => transfer.shipImage(image, c.req.raw.signal));
      return c.json(shipped, 200);
    },
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/transfers/{id}/first-pass",
      summary: "Source: send the writable layer, the volumes and shared memory while the container runs",
      request: { params: migrationParams },
      responses: { 200: json(shippedSchema, "written at the destination"), ...problems },
    }),
    async (c) => {
      const transfer = transfers.get(c.req.valid("param").id);
      return c.json(await withSpan("first pass", {}, () => transfer.firstPass(c.req.raw.signal)), 200);
    },
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/transfers/{id}/next-pass",
      summary: "Source: send the files that have changed since the last pass, while the container runs on",
      request: { params: migrationParams },
      responses: { 200: json(shippedSchema, "written at the destination"), ...problems },
    }),
    async (c) => {
      const transfer = transfers.get(c.req.valid("param").id);
      return c.json(await withSpan("next pass", {}, () => transfer.nextPass(c.req.raw.signal)), 200);
    },
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/transfers/{id}/log",
      summary:
        "Source: send what the container's log has more than at the last time; with when=sealed, once the checkpoint is",
      request: { params: migrationParams, query: whenSealedQuery },
      responses: { 200: json(shippedSchema, "written at the destination"), ...problems },
    }),
    async (c) => {
      const transfer = transfers.get(c.req.valid("param").id);
      const urgent = c.req.valid("query").when === "sealed";
      if (urgent) await transfer.untilSealed(c.req.raw.signal);
      return c.json(await withSpan("ship log", {}, () => transfer.shipLog(urgent, c.req.raw.signal)), 200);
    },
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/transfers/{id}/delta",
      summary: "Source: send what changed since the first pass; the container must be frozen",
      request: { params: migrationParams },
      responses: { 200: json(shippedSchema, "the destination has exactly the source's files"), ...problems },
    }),
    async (c) => {
      const transfer = transfers.get(c.req.valid("param").id);
      return c.json(await withSpan("delta", {}, () => transfer.delta(c.req.raw.signal)), 200);
    },
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/transfers/{id}/images",
      summary:
        "Source: send the CRIU images that the dump has written; with when=sealed, once it has sealed them. The container must be frozen",
      request: { params: migrationParams, query: whenSealedQuery },
      responses: { 200: json(shippedSchema, "written at the destination"), ...problems },
    }),
    async (c) => {
      const transfer = transfers.get(c.req.valid("param").id);
      const { signal } = c.req.raw;
      // While the dump is under way: the container is frozen already.
      const there = await transfer.compareShared(signal);
      if (c.req.valid("query").when === "sealed") await transfer.untilSealed(signal);
      return c.json(await withSpan("ship CRIU images", {}, () => transfer.shipImages(there, signal)), 200);
    },
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/transfers/{id}/memory",
      summary: "Source: open the frozen processes' memory; the pager's requests are answered from now on",
      request: { params: migrationParams, ...jsonBody(openMemorySchema) },
      responses: { 200: json(transferSchema, "it is open"), ...problems },
    }),
    async (c) => c.json(await transfers.get(c.req.valid("param").id).openMemory(c.req.valid("json")), 200),
  );
  app.openapi(
    createRoute({
      method: "post",
      path: "/transfers/{id}/precopy",
      summary:
        "Source: tell the pager of the running container's pages; what it asks for is confirmed after the freeze",
      request: { params: migrationParams },
      responses: { 200: json(precopySchema, "it knows"), ...problems },
    }),
    async (c) => {
      const transfer = transfers.get(c.req.valid("param").id);
      return c.json(await withSpan("announce memory", {}, () => transfer.precopy()), 200);
    },
  );
  app.openapi(
    createRoute({
      method: "delete",
      path: "/transfers/{id}",
      summary: "Source: close the connections and the memory",
      request: { params: migrationParams },
      responses: { 200: json(deletedTransferSchema, "gone"), ...problems },
    }),
    (c) => {
      const { id } = c.req.valid("param");
      const sent = transfers.find(id)?.report();
      return c.json({ deleted: transfers.remove(id), ...(sent !== undefined && { sent }) }, 200);
    },
  );
}

export function registerReceiveRoutes(app: App, receives: Receives): void {
  app.openapi(
    createRoute({
      method: "post",
      path: "/receives",
      summary: "Destination: connect to the source's data port",
      request: jsonBody(createReceiveSchema),
      responses: { 201: json(receiveSchema, "connected"), ...problems },
    }),
    async (c) => c.json((await receives.create(c.req.valid("json"))).report(), 201),
  );
  app.openapi(
    createRoute({
      method: "put",
      path: "/receives/{id}/target",
      summary: "Destination: where files go; answers once this node's restorer has the container's files mounted",
      request: { params: migrationParams, ...jsonBody(receiveTargetSchema) },
      responses: { 200: json(receiveSchema, "files may come"), ...problems },
    }),
    async (c) => {
      const receive = receives.get(c.req.valid("param").id);
      await receive.setTarget(c.req.valid("json"), c.req.raw.signal);
      return c.json(receive.report(), 200);
    },
  );
  app.openapi(
    createRoute({
      method: "get",
      path: "/receives/{id}",
      summary: "Destination: what was received so far",
      request: { params: migrationParams },
      responses: { 200: json(receiveSchema, "as it is now"), ...problems },
    }),
    (c) => c.json(receives.get(c.req.valid("param").id).report(), 200),
  );
  app.openapi(
    createRoute({
      method: "delete",
      path: "/receives/{id}",
      summary: "Destination: close the connection, and remove the received CRIU images",
      request: { params: migrationParams },
      responses: { 200: json(deleted, "gone"), ...problems },
    }),
    async (c) => c.json({ deleted: await receives.remove(c.req.valid("param").id) }, 200),
  );
}
