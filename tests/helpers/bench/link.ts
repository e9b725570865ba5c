/** The link between the nodes: as fast as it goes, or shaped with a token bucket on both ends. */
import { registerNode } from "../lab/lab.ts";
import type { BenchLab } from "./bench-lab.ts";

export const links = ["unlimited", "1gbit", "100mbit"] as const;
export type Link = (typeof links)[number];

/** A burst of a few milliseconds, and a queue as short as that of a switch: a long one would make every fault wait. */
const shapes: Readonly<Record<Link, string | undefined>> = {
  unlimited: undefined,
  "1gbit": "tbf rate 1gbit burst 256kb latency 10ms",
  "100mbit": "tbf rate 100mbit burst 128kb latency 20ms",
};

/** Shapes what leaves either node. The client's traffic shares the link, as it would. */
export async function setLink({ a, b }: BenchLab, link: Link): Promise<void> {
  const shape = shapes[link];
  const command =
    shape === undefined ? "tc qdisc del dev eth0 root 2>/dev/null; true" : `tc qdisc replace dev eth0 root ${shape}`;
  await Promise.all([a.run(command, { quiet: true }), b.run(command, { quiet: true })]);
}

/** The link of the run before. */
const usedLinks = new WeakMap<BenchLab, Link>();

/** The link of a run. The nodes of a run over another link are other nodes, as far as the planner knows. */
export async function useLink(bench: BenchLab, link: Link): Promise<void> {
  await setLink(bench, link);
  if (usedLinks.get(bench) === link) return;
  const { planner, nodes } = bench.lab;
  await Promise.all([registerNode(planner, nodes.a), registerNode(planner, nodes.b)]);
  usedLinks.set(bench, link);
}
