import { runMain } from "../shared/serve.ts";
import { runAgent } from "./agent.ts";

await runMain(() => runAgent(process.argv.slice(2), process.env));
