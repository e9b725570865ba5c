/** How the peers' files get from node a to node b: a tar through a plain TCP connection, or rsync. */
import type { BenchLab } from "../bench-lab.ts";
import { pollUntil } from "../../poll-until.ts";

const port = 7498;

export interface Receiver {
  readonly target: string;
  readonly done: Promise<unknown>;
}

/** Lets node b listen for one stream, which goes to a command's input. */
export async function listen({ b }: BenchLab, command: string, timeoutMs: number): Promise<Receiver> {
  const done = b.run(`socat -u -b 1048576 TCP-LISTEN:${port},reuseaddr STDOUT | ${command}`, { timeoutMs });
  const failed = done.then(() => undefined as never);
  failed.catch(() => undefined); // whoever waits for `done` meets it
  const listening = pollUntil("the receiver on node b", 5_000, () =>
    b.run(`ss -Hltn sport = :${port} | grep -q .`, { quiet: true }).then(
      () => true,
      () => undefined,
    ),
  );
  await Promise.race([listening, failed]);
  return { target: `socat -u -b 1048576 STDIN TCP:${b.ip}:${port}`, done };
}

/** Sends a directory's entry, or all of it (`.`), to a receiver that unpacks tar. */
export async function sendTree(
  { a }: BenchLab,
  from: string,
  entry: string,
  receiver: Receiver,
  timeoutMs: number,
): Promise<void> {
  await a.run(`tar -C ${from} -c ${entry} | ${receiver.target}`, { timeoutMs });
  await receiver.done;
}

/** Where Docker keeps the container's writable layer. */
export async function upperDir({ a, b }: BenchLab, node: "a" | "b", name: string): Promise<string> {
  const shell = node === "a" ? a : b;
  return shell.run(`docker inspect -f '{{.GraphDriver.Data.UpperDir}}' ${name}`);
}

/** Makes a directory of node b what it is on node a. */
export async function synchronise({ a, b }: BenchLab, from: string, to: string, timeoutMs: number): Promise<void> {
  await a.run(`rsync -aHAXS --numeric-ids --delete ${from}/ rsync://${b.ip}/root${to}/`, { timeoutMs });
}
