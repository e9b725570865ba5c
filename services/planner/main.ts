/** The planner: `node services/planner/main.ts`. */
import { runMain } from "../shared/serve.ts";
import { runPlanner } from "./planner.ts";

await runMain(() => runPlanner(process.argv.slice(2), process.env));
