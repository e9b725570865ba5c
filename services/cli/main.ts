#!/usr/bin/env node
/** The dmigrate command. */
import { exitCodes } from "./exit-codes.ts";
import { runCli } from "./program.ts";

// Whoever read the output has seen enough (`dmigrate events … | head`).
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(exitCodes.ok);
  });
}

process.exitCode = await runCli(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  interrupted: () => {
    const interrupt = new AbortController();
    // A second Ctrl-C ends the process at once.
    process.once("SIGINT", () => interrupt.abort());
    return interrupt.signal;
  },
});
