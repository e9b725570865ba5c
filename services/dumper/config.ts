/** Settings of the dumper. */
import { listenSchema, nodeConfigShape } from "../shared/config.ts";

export const dumperConfigShape = {
  ...nodeConfigShape,
  listen: listenSchema.default({ host: "127.0.0.1", port: 7411 }),
};
