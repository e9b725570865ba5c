/**
 * `npm run lab`: brings up two nodes and a planner and keeps them until Ctrl-C. Progress goes to stderr; stdout gets exactly one
 * line, once everything is ready: where to find the nodes' Docker engines, their agents and the planner, as JSON.
 */
import { logToStderr } from "../helpers/lab/context.ts";
import { startLab, type LabNode } from "../helpers/lab/lab.ts";
import { workloadImage } from "../helpers/lab/workload.ts";

const interrupted = new AbortController();
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => interrupted.abort(new Error(`interrupted by ${signal}`)));
}

const describe = ({ dockerHost, agentUrl, token }: LabNode): object => ({ docker: dockerHost, agent: agentUrl, token });

try {
  await using lab = await startLab({ signal: interrupted.signal });
  const { nodes, planner } = lab;
  const line = {
    nodes: { a: describe(nodes.a), b: describe(nodes.b) },
    planner: planner.url,
    plannerToken: planner.token,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
  logToStderr(`ready; on node a there is the image ${workloadImage}. Ctrl-C ends the lab`);
  const alive = setInterval(() => undefined, 1 << 30);
  await new Promise((resolve) => interrupted.signal.addEventListener("abort", resolve, { once: true }));
  clearInterval(alive);
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  logToStderr(interrupted.signal.aborted ? "interrupted before it was ready" : message);
  process.exitCode = interrupted.signal.aborted ? 130 : 1;
}
