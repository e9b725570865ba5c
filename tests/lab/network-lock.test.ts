/** The lock of a network during a dump, with the nft of a node. A connection over loopback tells whether packets come in. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { connectLab } from "../helpers/lab/connect.ts";
import { must } from "../helpers/node-link.ts";

const { a } = connectLab().nodes;
const inside = "nsenter -n -t $(cat /run/lock-test.pid)";
/** Says whether a packet comes in: ping is not in a node, bash is. */
const reach = `${inside} timeout 1 bash -c ': </dev/tcp/127.0.0.1/9' 2>&1 | grep -q refused && echo open || echo shut`;
const adapter = "/opt/dmigrate/services/dumper/adapters/network-lock.ts";

/** Prepares a lock, does as told, and says after each step whether the network is open. */
async function steps(code: string): Promise<string[]> {
  const script = `
    import { execSync } from "node:child_process";
    import { prepareNetworkLock } from "${adapter}";
    const look = () => console.log(execSync(process.env.REACH, { encoding: "utf8" }).trim());
    const lock = await prepareNetworkLock(Number(execSync("cat /run/lock-test.pid")));
    ${code}`;
  const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
  const run = `REACH=${quoted(reach)} node --input-type=module-typescript -e ${quoted(script)} || true`;
  return (await must(a, run)).trim().split("\n");
}

beforeAll(() =>
  must(
    a,
    "unshare -n sh -c 'ip link set lo up; echo $$ >/run/lock-test.pid; exec sleep 60' >/dev/null 2>&1 & sleep 0.3",
  ),
);
afterAll(() => must(a, "kill $(cat /run/lock-test.pid); rm /run/lock-test.pid"));

it("lets nothing in until it is ended", async () => {
  expect(await steps("look(); await lock.lock(); look(); await lock.end(); look();")).toEqual(["open", "shut", "open"]);
});

it("ends with a dumper that is killed", async () => {
  expect(await steps("await lock.lock(); look(); process.kill(process.pid, 'SIGKILL');")).toEqual(["shut"]);
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect((await must(a, reach)).trim()).toBe("open");
});

it("refuses the host's own network", async () => {
  const code = `lock.end(); await prepareNetworkLock(process.pid).catch((error) => console.log(error.code));`;
  expect(await steps(code)).toEqual(["conflict"]);
});
