/** Data that arrives on busy connections while they are dumped. */
import { once } from "node:events";
import { connect } from "node:net";
import { afterAll, expect, it } from "vitest";
import { connectLab } from "../helpers/lab/connect.ts";
import { removeContainers } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { startContainer } from "../helpers/workloads.ts";

const port = 7000;
const clients = 8;
const moves = 6;
/** Takes 100 KB/s of each connection, so that its queues are never empty and its window opens all the time. */
const reader = `
  use IO::Socket::INET; use IO::Select;
  my $listener = IO::Socket::INET->new(LocalPort => ${port}, Listen => 64, ReuseAddr => 1) or die;
  my $all = IO::Select->new($listener);
  while (1) {
    for my $ready ($all->can_read(1)) {
      if ($ready == $listener) { $all->add($listener->accept); next }
      sysread($ready, my $taken, 2000) or do { $all->remove($ready); close $ready };
    }
    select undef, undef, undef, 0.02;
  }`;

const lab = connectLab();
const { a, b } = lab.nodes;
const user = new PlannerUser(lab.planner);

/** Sends as fast as it is taken, on one connection after another, until the signal. */
async function flood(hosts: readonly string[], signal: AbortSignal): Promise<void> {
  const chunk = Buffer.alloc(1500, "x");
  for (let turn = 0; !signal.aborted; turn++) {
    const socket = connect({ host: hosts[turn % hosts.length] ?? "", port });
    const closed = once(socket, "close", { signal }).catch(() => undefined);
    socket.on("error", () => undefined);
    const send = (): void => {
      while (socket.writable && socket.write(chunk));
    };
    socket.on("connect", send).on("drain", send);
    await closed;
    socket.destroy();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

afterAll(() => removeContainers([a, b]));

it("does not disturb the dump", async () => {
  await startContainer(a, "sink", ["perl", "-e", reader], {
    ExposedPorts: { [`${port}/tcp`]: {} },
    HostConfig: { PortBindings: { [`${port}/tcp`]: [{ HostPort: String(port) }] } },
  });
  await lab.loadWorkload(b);
  const stop = new AbortController();
  const floods = Array.from({ length: clients }, () => flood([a.ip, b.ip], stop.signal));
  try {
    const outcomes: string[] = [];
    for (let move = 0; move < moves; move++) {
      await new Promise((resolve) => setTimeout(resolve, 500));
      const [from, to] = move % 2 === 0 ? ["a", "b"] : ["b", "a"];
      const { phase, error } = await user.waitForEnd((await user.post({ container: "sink", from, to })).id);
      outcomes.push(phase === "committed" ? phase : `${phase}: ${error?.message}`);
    }
    expect(outcomes).toEqual(outcomes.map(() => "committed"));
  } finally {
    stop.abort();
    await Promise.all(floods);
  }
});
