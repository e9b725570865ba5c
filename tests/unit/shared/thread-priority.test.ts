/** What the kernel says of threads of other processes: this one keeps its priority. */
import { execFileSync, spawnSync } from "node:child_process";
import { expect, test } from "vitest";

const program = `
  import { readdirSync, readFileSync } from "node:fs";
  import { preferThisThread, unpreferThisThread, yieldAllThreads } from ${JSON.stringify(new URL("../../../services/shared/adapters/thread-priority.ts", import.meta.url).href)};
  // proc(5): from the third field on, after the name.
  const fields = () => readFileSync("/proc/thread-self/stat", "utf8").split(") ")[1].split(" ");
  const now = () => ({ nice: Number(fields()[16]), priority: Number(fields()[37]), policy: Number(fields()[38]) });
  const got = preferThisThread();
  const preferred = now();
  unpreferThisThread();
  const after = now();
  const statOf = (thread) => readFileSync("/proc/self/task/" + thread + "/stat", "utf8").split(") ")[1].split(" ");
  const all = () => [...new Set(readdirSync("/proc/self/task").map((thread) => Number(statOf(thread)[38])))];
  yieldAllThreads(true);
  const yielding = all();
  yieldAllThreads(false);
  console.log(JSON.stringify({ got, preferred, after, yielding, back: all() }));
`;

const module = JSON.stringify(new URL("../../../services/shared/adapters/thread-priority.ts", import.meta.url).href);
/** Its child yields until it is told that it need not: by its parent, without a word. */
const ofAnother = `
  import { spawn } from "node:child_process";
  import { once } from "node:events";
  import { readdirSync, readFileSync } from "node:fs";
  import { endYielding } from ${module};
  const yielding = 'import { yieldAllThreads } from ' + ${JSON.stringify(module)} + '; yieldAllThreads(true); console.log("yields"); setInterval(() => {}, 1000)';
  const child = spawn(process.execPath, ["--input-type=module", "--eval", yielding], { stdio: ["ignore", "pipe", "inherit"] });
  await once(child.stdout, "data");
  const policy = (thread) => Number(readFileSync("/proc/" + child.pid + "/task/" + thread + "/stat", "utf8").split(") ")[1].split(" ")[38]);
  const all = () => [...new Set(readdirSync("/proc/" + child.pid + "/task").map(policy))];
  const before = all();
  endYielding(child.pid);
  console.log(JSON.stringify({ before, after: all() }));
  child.kill();
`;

const said = (): Record<"got" | "preferred" | "after" | "yielding" | "back", unknown> => {
  const output = execFileSync(process.execPath, ["--input-type=module", "--eval", program], { encoding: "utf8" });
  return JSON.parse(output) as ReturnType<typeof said>;
};

test("a thread gets what it is told that it got, and can be made a usual one again", () => {
  const { got, preferred, after } = said();
  const wanted = {
    "real-time": { priority: 1, policy: 2 },
    heavy: { nice: -20, policy: 0 },
    usual: { nice: 0, policy: 0 },
  };
  expect(preferred).toMatchObject(wanted[got as keyof typeof wanted]);
  expect(after).toEqual({ nice: 0, priority: 0, policy: 0 });
});

test("all threads of a process yield together, and are usual ones again together", () => {
  const { yielding, back } = said();
  // SCHED_IDLE, SCHED_OTHER.
  expect([yielding, back]).toEqual([[5], [0]]);
});

test("a process that yields is made a usual one by another", () => {
  const yielding = spawnSync(process.execPath, ["--input-type=module", "--eval", ofAnother], { encoding: "utf8" });
  expect(JSON.parse(yielding.stdout)).toEqual({ before: [5], after: [0] });
});
