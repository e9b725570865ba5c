/** What is written down about a pager, so that an agent started anew finds its page daemon and knows how far it was. */
import { z } from "zod";
import { countSchema, millisSchema } from "../../shared/contracts/common.ts";
import { createPagerSchema } from "../../shared/contracts/pager.ts";

export const pagerRecordSchema = z.object({
  request: createPagerSchema,
  pagesTotal: countSchema,
  /** Present once a restore may have connected: from then on processes may depend on the page server. */
  serveMs: millisSchema.optional(),
});
export type PagerRecord = z.infer<typeof pagerRecordSchema>;
