/** A program that times its own page faults (images/page-toucher.c). */
import { connect } from "node:net";
import { text } from "node:stream/consumers";

import type { Point } from "../memory/series.ts";
import type { Shell } from "../shell.ts";
import { scratch } from "../systems/system.ts";
import type { Program } from "./workload.ts";

const port = 7001;
const answerTimeoutMs = 60_000;

export interface Fault {
  /** CLOCK_MONOTONIC of the machine. */
  readonly beginMs: number;
  readonly ms: number;
}

const program = "page-toucher";
const stopWatching = `${scratch}/watched`;

/** @param pauseUs between two touches */
export const pageToucher = (megabytes: number, pauseUs: number): Program => ({
  name: `page-toucher-${megabytes}mb`,
  command: [program, String(port), String(megabytes), String(pauseUs)],
  megabytes: megabytes + 16,
  port,
  writesFiles: false,
});

/** Its faults so far, and how many of its pages are wrong. It touches nothing until it has told. */
export async function readNotes(host: string): Promise<{ wrong: number; faults: Fault[] }> {
  const socket = connect({ host, port, timeout: answerTimeoutMs });
  socket.on("timeout", () => socket.destroy(new Error("page-toucher does not answer")));
  const [head = "", ...lines] = (await text(socket)).trim().split("\n");
  const faults = lines.map((line) => {
    const [begin = 0, took = 0] = line.split(" ").map(Number);
    return { beginMs: begin / 1e6, ms: took / 1e6 };
  });
  return { wrong: Number(head.split(" ")[0]), faults };
}

/** Its resident memory on a node, bytes, over CLOCK_MONOTONIC of the machine. Looked at from outside, whoever moved it there. */
export interface Watch {
  /** Ends it; resolves with what was seen. */
  stop(): Promise<Point[]>;
}

/** Waits on a node for the program, and watches it from then on. */
export function watchMemory(shell: Shell, timeoutMs: number): Watch {
  const command = `rm -f ${stopWatching}; node /opt/bench/watch-memory.ts ${program} ${stopWatching}`;
  const output = shell.run(command, { quiet: true, timeoutMs });
  output.catch(() => undefined); // stop() meets it
  return {
    stop: async () => {
      await shell.run(`mkdir -p ${scratch} && touch ${stopWatching}`, { quiet: true });
      const lines = (await output).split("\n").filter((line) => line !== "");
      return lines.map((line) => {
        const [at = 0, value = 0] = line.split(" ").map(Number);
        return { atMs: at / 1e6, value };
      });
    },
  };
}
