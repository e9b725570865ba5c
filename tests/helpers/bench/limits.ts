/** What the machine can do at best, measured in the nodes (images/limits.ts). */
import type { BenchLab } from "./bench-lab.ts";

export interface Limits {
  /** One Node process sends to another over one TCP connection, node a to node b. */
  readonly tcpBytesPerSecond: number;
  /** One thread of node b fills missing pages. */
  readonly uffdBytesPerSecond: number;
}

const program = "node /opt/dmigrate/bench/limits.ts";
const port = 7496;

export async function measureLimits({ a, b }: BenchLab): Promise<Limits> {
  const sink = b.run(`${program} sink ${port}`, { quiet: true });
  sink.catch(() => undefined);
  await b.run(`for i in $(seq 100); do ss -Hltn sport = :${port} | grep -q . && exit; sleep 0.05; done; exit 1`, {
    quiet: true,
  });
  const tcp = await a.run(`${program} send ${b.ip} ${port}`, { quiet: true });
  await sink;
  const uffd = await b.run(`${program} uffd`, { quiet: true });
  return { tcpBytesPerSecond: Number(tcp), uffdBytesPerSecond: Number(uffd) };
}
