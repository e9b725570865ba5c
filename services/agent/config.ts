/** Settings of the node agent: those of the four services that it holds. */
import { z } from "zod";
import { pagingConfigShape } from "../pager/config.ts";
import { listenSchema, nodeConfigShape, readConfig } from "../shared/config.ts";

export const agentConfigShape = {
  ...nodeConfigShape,
  ...pagingConfigShape,
  listen: listenSchema.default({ host: "127.0.0.1", port: 7400 }),
  /** Where destinations connect to for pages and files. */
  dataListen: listenSchema.default({ host: "127.0.0.1", port: 7401 }),
};

export type AgentConfig = z.infer<z.ZodObject<typeof agentConfigShape>>;

export const readAgentConfig = (argv: readonly string[], env: NodeJS.ProcessEnv): AgentConfig =>
  readConfig(agentConfigShape, argv, env);
