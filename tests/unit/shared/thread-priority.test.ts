/** What the kernel says of threads of other processes: this one keeps its priority. */
import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";

const program = `
  import { readFileSync } from "node:fs";
  import { preferThisThread, unpreferThisThread } from ${JSON.stringify(new URL("../../../services/shared/adapters/thread-priority.ts", import.meta.url).href)};
  // proc(5): from the third field on, after the name.
  const fields = () => readFileSync("/proc/thread-self/stat", "utf8").split(") ")[1].split(" ");
  const now = () => ({ nice: Number(fields()[16]), priority: Number(fields()[37]), policy: Number(fields()[38]) });
  const got = preferThisThread();
  const preferred = now();
  unpreferThisThread();
  console.log(JSON.stringify({ got, preferred, after: now() }));
`;

test("a thread gets what it is told that it got, and can be made a usual one again", () => {
  const said = execFileSync(process.execPath, ["--input-type=module", "--eval", program], { encoding: "utf8" });
  const { got, preferred, after } = JSON.parse(said) as Record<"got" | "preferred" | "after", unknown>;
  const wanted = {
    "real-time": { priority: 1, policy: 2 },
    heavy: { nice: -20, policy: 0 },
    usual: { nice: 0, policy: 0 },
  };
  expect(preferred).toMatchObject(wanted[got as keyof typeof wanted]);
  expect(after).toEqual({ nice: 0, priority: 0, policy: 0 });
});
