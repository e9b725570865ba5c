/** A program that times its own page faults (images/page-toucher.c). */
import { connect } from "node:net";
import { text } from "node:stream/consumers";

import type { Program } from "./workload.ts";

const port = 7001;
const answerTimeoutMs = 60_000;

export interface Fault {
  /** CLOCK_MONOTONIC of the machine. */
  readonly beginMs: number;
  readonly ms: number;
}

/** @param pauseUs between two touches */
export const pageToucher = (megabytes: number, pauseUs: number): Program => ({
  name: `page-toucher-${megabytes}mb`,
  command: ["page-toucher", String(port), String(megabytes), String(pauseUs)],
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
