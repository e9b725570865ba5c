/** The guardian needs no rights: here it "thaws" an ordinary file. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const script = new URL("../../../services/dumper/adapters/guardian.sh", import.meta.url).pathname;
let dir: string;
let file: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "guardian-"));
  file = join(dir, "freezer.state");
  writeFileSync(file, "FROZEN\n");
});
afterEach(() => rmSync(dir, { recursive: true }));

/** Tells a guardian these lines, closes its input, and waits for its end. */
async function guard(lines: string[]): Promise<string> {
  const child = spawn("sh", [script, file, "THAWED"], { stdio: ["pipe", "ignore", "ignore"] });
  const ended = once(child, "exit");
  child.stdin.end(lines.map((line) => `${line}\n`).join(""));
  await ended;
  return readFileSync(file, "utf8").trim();
}

const sleeper = (): ChildProcess => spawn("sleep", ["0.4"], { detached: true, stdio: "ignore" });

describe("guardian", () => {
  it("thaws when its dumper is gone", async () => {
    expect(await guard([])).toBe("THAWED");
  });
  it("leaves a sealed container frozen", async () => {
    expect(await guard(["dump 999999999", "dumped", "seal"])).toBe("FROZEN");
  });
  it("does nothing after it was released", async () => {
    expect(await guard(["release"])).toBe("FROZEN");
  });
  it("waits for the end of the dump before it thaws, and does not kill it", async () => {
    const dump = sleeper();
    const ended = once(dump, "exit") as Promise<[number | null, string | null]>;
    expect(await guard([`dump ${String(dump.pid)}`])).toBe("THAWED");
    expect(await ended).toEqual([0, null]);
  });
  it("does not create what is gone", async () => {
    rmSync(file);
    const child = spawn("sh", [script, file, "THAWED"], { stdio: ["pipe", "ignore", "ignore"] });
    const ended = once(child, "exit");
    child.stdin.end();
    await ended;
    expect(() => readFileSync(file)).toThrow(/ENOENT/);
    writeFileSync(file, "");
  });
  it("survives the signals that end a terminal's processes", async () => {
    const child = spawn("sh", [script, file, "THAWED"], { stdio: ["pipe", "ignore", "ignore"] });
    await once(child, "spawn");
    // Until the shell has read its first lines it has no trap.
    await new Promise((resolve) => setTimeout(resolve, 200));
    child.kill("SIGTERM");
    child.kill("SIGHUP");
    child.kill("SIGINT");
    const ended = once(child, "exit");
    child.stdin.end();
    await ended;
    expect(readFileSync(file, "utf8").trim()).toBe("THAWED");
  });
});
