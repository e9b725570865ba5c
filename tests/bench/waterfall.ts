/** `npm run bench:waterfall [-- --mb N]`: moves a Redis there and back, and draws the second move's trace into docs/bench/. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { runMain } from "../../services/shared/serve.ts";
import { waterfall } from "../helpers/bench/report/waterfall.ts";
import { startLab } from "../helpers/lab/lab.ts";
import { projectRoot } from "../helpers/lab/images.ts";
import { startOtlpReceiver } from "../helpers/otlp-receiver.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { pollUntil } from "../helpers/poll-until.ts";
import { RedisData } from "../helpers/redis-data.ts";
import { startRedis } from "../helpers/workloads.ts";

const port = 6379;
const exportDelayMs = "200";

await runMain(async () => {
  const { values } = parseArgs({ options: { mb: { type: "string", default: "64" } } });
  const megabytes = Number(values.mb);
  if (!Number.isInteger(megabytes) || megabytes < 1) throw new Error("--mb: a whole number from 1 on");
  await using receiver = await startOtlpReceiver();
  const env = {
    OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${receiver.port}`,
    OTEL_BSP_SCHEDULE_DELAY: exportDelayMs,
  };
  await using lab = await startLab({ env });
  const { a } = lab.nodes;
  await startRedis(a, "redis", port);
  const data = new RedisData(megabytes);
  await data.fill(a.ip, port);
  const user = new PlannerUser(lab.planner);
  await user.migrate({ container: "redis", from: "a", to: "b" });
  const migration = await user.migrate({ container: "redis", from: "b", to: "a" });
  const wrong = await data.countWrong(a.ip, port);
  if (wrong > 0) throw new Error(`${wrong} keys are wrong after the migration`);
  // The spans of both nodes and of the planner come in their own time: the last is the migration's own.
  const ofMigration = () => receiver.spans.filter(({ traceId }) => traceId === migration.traceId);
  const downtime = await pollUntil("the migration's spans", 10_000, () =>
    Promise.resolve(
      ofMigration().some(({ name }) => name === "commit")
        ? ofMigration().find(({ name }) => name === "downtime")
        : undefined,
    ),
  );
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const directory = join(projectRoot, "docs/bench");
  mkdirSync(directory, { recursive: true });
  const what = `Redis with ${megabytes} MB`;
  const whole = waterfall(ofMigration(), { title: `Migration of a ${what}; shaded: frozen`, leastMs: 3 });
  const around = { startMs: downtime.startMs - 20, endMs: downtime.endMs + 20 };
  const within = waterfall(ofMigration(), { title: `Its downtime, taken apart`, leastMs: 0.5, window: around });
  writeFileSync(join(directory, "waterfall.svg"), whole);
  writeFileSync(join(directory, "waterfall-downtime.svg"), within);
  process.stdout.write(
    `downtime ${(downtime.endMs - downtime.startMs).toFixed(1)} ms; docs/bench/waterfall{,-downtime}.svg\n`,
  );
});
