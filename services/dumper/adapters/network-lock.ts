/**
 * Keeps packets from a container's network while CRIU reads its connections: it asks how much a queue holds and then takes
 * that much, so a segment that comes in between fails the dump ("recv failed", soccr/soccr.c). CRIU's own lock starts
 * iptables in the midst of the downtime; ours is an nft that was started before the freeze and waits for one line.
 */
import { spawn } from "node:child_process";
import { readlinkSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { DmigrateError } from "../../shared/errors.ts";

/** The owner flag (nft(8), Linux 5.12) ties the table to the nft that made it: however that ends, the network is open again. */
const makeTable = "add table inet dmigrate { flags owner; }";
/** Before connection tracking and routing. */
const dropAll = "add chain inet dmigrate incoming { type filter hook prerouting priority -450; policy drop; }";
/** What nft lists, once it has done what came before. */
const tableListed = "table inet dmigrate";

/** What a node must be able to do, as one script for nft in a network namespace of its own. */
export const lockRehearsal = `${makeTable}; ${dropAll}`;

const answerTimeoutMs = 2_000;
const endTimeoutMs = 2_000;

export interface NetworkLock {
  /** Resolves once nothing comes in any more. Rejects with `unavailable`, saying why. */
  lock(): Promise<void>;
  /** Opens the network again; resolves when it is open. Harmless when called again. */
  end(): Promise<void>;
}

/** A lock for the network namespace of a process. Rejects with `unavailable`, and with `conflict` for the host's own namespace. */
export async function prepareNetworkLock(hostPid: number): Promise<NetworkLock> {
  if (isOurNetwork(hostPid))
    throw new DmigrateError("conflict", `process ${hostPid} has this host's own network, which is not shut`);
  const child = spawn("nsenter", ["--target", String(hostPid), "--net", "nft", "--interactive"]);
  let complaint = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (complaint = `${complaint}${text}`.slice(0, 1_000)));
  child.stdin.on("error", () => undefined); // it has ended, which is heard otherwise
  const lines = createInterface(child.stdout);
  const exited = new Promise<"it has ended">((resolve) => {
    for (const event of ["error", "exit"]) child.once(event, () => resolve("it has ended"));
  });
  const order = async (request: string): Promise<void> => {
    const done = new Promise<"done">((resolve) => {
      lines.on("line", (line) => line === tableListed && resolve("done"));
    });
    child.stdin.write(`${request}\nlist tables\n`);
    const late = sleep(answerTimeoutMs, "it does not answer" as const, { ref: false });
    const outcome = await Promise.race([done, exited, late]);
    lines.removeAllListeners("line");
    if (outcome === "done" && complaint === "") return;
    const why = complaint.trim() || outcome;
    throw new DmigrateError("unavailable", `nft cannot lock the container's network for the dump: ${why}`);
  };
  const end = async (): Promise<void> => {
    child.stdin.end();
    const timer = setTimeout(() => child.kill("SIGKILL"), endTimeoutMs);
    await exited;
    clearTimeout(timer);
  };
  try {
    await order(makeTable);
  } catch (error) {
    await end();
    throw error;
  }
  return { lock: () => order(dropAll), end };
}

function isOurNetwork(hostPid: number): boolean {
  return readlinkSync(`/proc/${hostPid}/ns/net`) === readlinkSync("/proc/self/ns/net");
}
