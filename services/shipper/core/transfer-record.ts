/**
 * What is written down about a transfer once it serves the frozen memory: enough for an agent started anew to serve it
 * again. Before that nothing is: a migration whose source loses its agent is rolled back.
 */
import { z } from "zod";
import { frozenProcessSchema } from "../../shared/contracts/dumper.ts";
import { createTransferSchema } from "../../shared/contracts/shipper.ts";

export const transferRecordSchema = z.object({
  request: createTransferSchema,
  processes: z.array(frozenProcessSchema),
});
export type TransferRecord = z.infer<typeof transferRecordSchema>;
