/**
 * `npm run demo [-- --mb N] [-- --json]`: a Redis under a steady write load is moved from node a to node b and back,
 * in a lab brought up for it. Then every key is read, and every write that was acknowledged is looked for.
 */
import { parseArgs } from "node:util";
import { migrationListSchema, type Migration } from "../../services/shared/contracts/planner.ts";
import { createClient } from "../../services/shared/client.ts";
import { runMain } from "../../services/shared/serve.ts";
import { startLab, type Lab, type LabNode } from "../helpers/lab/lab.ts";
import { runCli } from "../helpers/run-cli.ts";
import { RedisData } from "../helpers/redis-data.ts";
import { startRedis } from "../helpers/workloads.ts";
import { WriteLoad } from "../helpers/write-load.ts";

const redisPort = 6379;
const writesPerSecond = 500;
const containerName = "redis";

interface DemoResult {
  migrations: Pick<
    Migration,
    "from" | "to" | "downtimeMs" | "totalMs" | "bytesSent" | "pagesFaulted" | "pagesTotal" | "traceId"
  >[];
  keys: number;
  lostWrites: number;
  verified: boolean;
}

const say = (text: string): void => void process.stderr.write(`${text}\n`);

async function demo(lab: Lab, megabytes: number, json: boolean): Promise<DemoResult> {
  const { a, b } = lab.nodes;
  const addresses = [a, b].map(({ ip }) => ({ host: ip, port: redisPort }));
  say(`demo: starting Redis on node a and writing ${megabytes} MB of keys`);
  await startRedis(a, containerName, redisPort);
  const data = new RedisData(megabytes);
  await data.fill(a.ip, redisPort);

  const load = new WriteLoad(addresses, writesPerSecond);
  load.start();
  const migrations: Migration[] = [];
  try {
    for (const [from, to] of [
      [a, b],
      [b, a],
    ] as const) {
      await settle();
      load.takeLongestGapMs();
      const migration = await migrate(lab, from, to, json);
      await settle();
      say(`demo: the client's longest wait for an answer was ${load.takeLongestGapMs().toFixed(0)} ms`);
      migrations.push(migration);
    }
  } finally {
    await load.stop();
  }
  say(`demo: reading ${data.count} keys and looking for ${load.acknowledgedCount} acknowledged writes on node a`);
  const address = { host: a.ip, port: redisPort };
  const wrongKeys = await data.countWrong(a.ip, redisPort);
  const lostWrites = await load.countLost(address);
  return {
    migrations: migrations.map(({ from, to, downtimeMs, totalMs, bytesSent, pagesFaulted, pagesTotal, traceId }) => ({
      from,
      to,
      downtimeMs,
      totalMs,
      bytesSent,
      pagesFaulted,
      pagesTotal,
      traceId,
    })),
    keys: data.count,
    lostWrites,
    verified: wrongKeys === 0 && lostWrites === 0 && load.acknowledgedCount > 0,
  };
}

/** Migrates with the CLI, as an operator would, and reads the numbers from the planner afterwards. */
async function migrate(lab: Lab, from: LabNode, to: LabNode, json: boolean): Promise<Migration> {
  say(`\n$ dmigrate migrate ${containerName} --from ${from.name} --to ${to.name}`);
  const args = ["migrate", containerName, "--from", from.name, "--to", to.name];
  const { exitCode } = await runCli(lab.planner, args, { stdout: json ? "ignore" : "inherit" });
  if (exitCode !== 0) throw new Error(`the migration from ${from.name} to ${to.name} failed, exit code ${exitCode}`);
  const planner = createClient("the planner", lab.planner.url, lab.planner.token);
  try {
    const { migrations } = await planner.get("/migrations?limit=1", migrationListSchema);
    const newest = migrations[0];
    if (newest?.phase !== "committed") throw new Error("the planner does not know of a committed migration");
    return newest;
  } finally {
    planner.close();
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 1_000));

await runMain(async () => {
  const { values } = parseArgs({
    options: { mb: { type: "string", default: "64" }, json: { type: "boolean", default: false } },
  });
  const megabytes = Number(values.mb);
  if (!Number.isInteger(megabytes) || megabytes < 1 || megabytes > 16_384)
    throw new Error(`--mb ${values.mb}: must be a whole number from 1 to 16384`);
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => interrupted.abort());
  await using lab = await startLab({ log: say, signal: interrupted.signal });
  const result = await demo(lab, megabytes, values.json);
  say(
    `\ndemo: ${result.keys} keys checked, ${result.lostWrites} acknowledged writes lost: ${result.verified ? "verified" : "NOT VERIFIED"}`,
  );
  if (values.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  if (!result.verified) process.exitCode = 1;
});
