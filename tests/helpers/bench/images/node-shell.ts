/**
 * A shell on a node for the benchmark: POST / with `{command, timeoutMs}` runs the command in bash and answers with what became of
 * it. `docker exec` would add a tenth of a second to every command of a system whose downtime is measured. For a closed lab only.
 * Stands alone, since it is copied into the node's image.
 */
import { spawn } from "node:child_process";
import { createServer } from "node:http";

const port = 7499;
/** How long the output of a command that has exited is waited for, when something else holds it open. */
const lastOutputMs = 50;

createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const { command, timeoutMs } = JSON.parse(Buffer.concat(chunks).toString()) as {
      command: string;
      timeoutMs: number;
    };
    const child = spawn("bash", ["-c", command], { detached: true, stdio: ["ignore", "pipe", "pipe"] });
    const output = { stdout: "", stderr: "" };
    let timedOut = false;
    // The group: a pipeline is to end with its shell. Nobody waits for the command any more when the connection is gone.
    const kill = (): void => {
      try {
        if (child.pid !== undefined && child.exitCode === null) process.kill(-child.pid, "SIGKILL");
      } catch {
        // It has ended in this moment.
      }
    };
    const timer = setTimeout(() => {
      timedOut = true;
      kill();
    }, timeoutMs);
    response.on("close", kill);
    for (const name of ["stdout", "stderr"] as const)
      child[name].setEncoding("utf8").on("data", (text: string) => (output[name] = (output[name] + text).slice(-1e6)));
    // A command that leaves a daemon behind has ended all the same, though the daemon may hold its output open. What the command
    // itself said may still be in the pipe when it exits.
    child.once("exit", (code) => {
      clearTimeout(timer);
      const answer = (): void => void response.end(JSON.stringify({ exitCode: code ?? -1, timedOut, ...output }));
      const patience = setTimeout(answer, lastOutputMs);
      child.once("close", () => {
        if (response.writableEnded) return;
        clearTimeout(patience);
        answer();
      });
    });
  });
}).listen(port);
