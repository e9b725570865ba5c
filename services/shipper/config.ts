/** Settings of the shipper when it runs alone. */
import type { z } from "zod";
import { listenSchema, nodeConfigShape, readConfig } from "../shared/config.ts";

const shipperConfigShape = {
  ...nodeConfigShape,
  listen: listenSchema.default({ host: "127.0.0.1", port: 7413 }),
  /** Where destinations connect to for files and pages. */
  dataListen: listenSchema.default({ host: "127.0.0.1", port: 7401 }),
};

export type ShipperConfig = z.infer<z.ZodObject<typeof shipperConfigShape>>;

export const readShipperConfig = (
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): ShipperConfig => readConfig(shipperConfigShape, argv, env);
