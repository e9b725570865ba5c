/** What a migration costs: bytes between the nodes, processor time of both, and memory of our services. */
import type { BenchLab } from "./bench-lab.ts";
import type { Shell } from "./shell.ts";

export interface Counters {
  /** From either node to the other, with headers, since the counting began. */
  readonly bytesOnWire: number;
  /** Of everything that runs in either node. */
  readonly cpuSeconds: number;
}

/** Counts packets by their sender: the client's traffic passes through the same interface. */
export async function startCounting({ a, b }: BenchLab): Promise<void> {
  await Promise.all(
    [[a, b.ip] as const, [b, a.ip] as const].map(([shell, from]) =>
      shell.run(`iptables -t raw -A PREROUTING -s ${from} -m comment --comment bench`, { quiet: true }),
    ),
  );
}

export async function readCounters({ a, b }: BenchLab): Promise<Counters> {
  const [bytesA, bytesB, cpuA, cpuB] = await Promise.all([
    bytesReceived(a),
    bytesReceived(b),
    cpuSeconds(a),
    cpuSeconds(b),
  ]);
  return { bytesOnWire: bytesA + bytesB, cpuSeconds: cpuA + cpuB };
}

async function bytesReceived(shell: Shell): Promise<number> {
  const rules = await shell.run("iptables -t raw -L PREROUTING -v -x -n | grep -F '/* bench */'", { quiet: true });
  return Number(rules.trim().split(/\s+/)[1]);
}

async function cpuSeconds({ node }: Shell): Promise<number> {
  const container = node.outer.getContainer(node.containerId);
  const options = { stream: false, "one-shot": true } as const;
  const stats = await container.stats(options);
  return stats.cpu_stats.cpu_usage.total_usage / 1e9;
}

const services = "pgrep -f '^node /opt/dmigrate/services/'";

/** Forgets the peaks so far. */
export async function resetServicePeaks({ a, b }: BenchLab): Promise<void> {
  const reset = `for pid in $(${services}); do echo 5 > /proc/$pid/clear_refs; done`;
  await Promise.all([a.run(reset, { quiet: true }), b.run(reset, { quiet: true })]);
}

/** The most memory that our services held on one node since the peaks were forgotten (resident), MB; on each node. */
export async function readServicePeaks({ a, b }: BenchLab): Promise<{ a: number; b: number }> {
  const read = `cat $(${services} | sed 's|.*|/proc/&/status|') | sed -n 's/^VmHWM:[^0-9]*\\([0-9]*\\) kB/\\1/p'`;
  const peak = async (shell: Shell): Promise<number> =>
    (await shell.run(read, { quiet: true })).split("\n").reduce((sum, kib) => sum + Number(kib) * 1.024e-3, 0);
  const [onA, onB] = await Promise.all([peak(a), peak(b)]);
  return { a: onA, b: onB };
}
