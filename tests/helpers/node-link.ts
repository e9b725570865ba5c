/** The network of a lab's node: made slow, and connections broken. */
import type { LabNode } from "./lab/lab.ts";

/** Runs a command in the node; throws when it fails. */
export async function must(node: LabNode, script: string): Promise<string> {
  const { exitCode, stdout, stderr } = await node.exec(["sh", "-ec", script]);
  if (exitCode !== 0) throw new Error(`on node ${node.name}: ${script}: ${stderr}`);
  return stdout;
}

/** Shapes what leaves the node; `megabits` a second. */
export async function slowDown(node: LabNode, megabits: number): Promise<void> {
  await must(node, `tc qdisc replace dev eth0 root tbf rate ${megabits}mbit burst 256kb latency 50ms`);
}

export async function speedUp(node: LabNode): Promise<void> {
  await must(node, "tc qdisc del dev eth0 root 2>/dev/null || :");
}

/** Resets the node's connections to another's data port. Answers how many there were. */
export async function breakConnections(node: LabNode): Promise<number> {
  const broken = await must(node, "ss -HKtn state established '( dport = :7401 )'");
  return broken.split("\n").filter(Boolean).length;
}
