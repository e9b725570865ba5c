/**
 * The bridge that the private engine's containers hang on, and the three firewall rules that let them out. The engine itself is
 * told to leave the firewall alone, so that removing these leaves the machine as it was (but for net.ipv4.ip_forward, which
 * others may rely on by then).
 */
import { readFileSync } from "node:fs";

import { run } from "./processes.ts";
import { defaultInterface, pickSubnet } from "./subnet.ts";

export const bridge = "dmigrate-lab0";

/** Creates the bridge anew and opens the way out; returns the MTU to use on it. */
export async function createBridge(): Promise<{ mtu: number }> {
  await removeBridge();
  const routes = readFileSync("/proc/net/route", "utf8");
  const mtu = mtuOf(defaultInterface(routes));
  const { gateway, network } = pickSubnet(routes);
  await run("ip", ["link", "add", bridge, "mtu", String(mtu), "type", "bridge"]);
  await run("ip", ["address", "add", gateway, "dev", bridge]);
  await run("ip", ["link", "set", bridge, "up"]);
  for (const rule of rulesFor(network)) await run("iptables", ["-w", ...rule("-I")]);
  return { mtu };
}

/** Removes the bridge and its rules, whatever of them is there. */
export async function removeBridge(): Promise<void> {
  const shown = await run("ip", ["-4", "address", "show", "dev", bridge]).catch(() => undefined);
  if (shown === undefined) return;
  const address = /inet ([\d.]+)\.\d+\//.exec(shown)?.[1];
  if (address !== undefined) {
    for (const rule of rulesFor(`${address}.0/24`)) await deleteAll(rule("-D"));
  }
  await run("ip", ["link", "delete", bridge]);
}

type Rule = (action: "-I" | "-D") => string[];

function rulesFor(network: string): Rule[] {
  const marked = ["-m", "comment", "--comment", "dmigrate lab"];
  return [
    (action) => ["-t", "nat", action, "POSTROUTING", "-s", network, "!", "-o", bridge, ...marked, "-j", "MASQUERADE"],
    (action) => [action, "FORWARD", "-i", bridge, ...marked, "-j", "ACCEPT"],
    (action) => [action, "FORWARD", "-o", bridge, ...marked, "-j", "ACCEPT"],
  ];
}

/** Deletes a rule as often as it is there; iptables says so by failing. */
async function deleteAll(rule: string[]): Promise<void> {
  for (;;) {
    try {
      await run("iptables", ["-w", ...rule]);
    } catch {
      return;
    }
  }
}

function mtuOf(name: string | undefined): number {
  if (name === undefined) return 1500;
  return Math.min(1500, Number(readFileSync(`/sys/class/net/${name}/mtu`, "utf8")));
}
