#!/usr/bin/env node
/** The dmigrate command. */
import { runCli } from "./program.ts";

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
