/** deploy/dmigrate-runc against the restorer's own gate, with a runc that only tells what it was asked. */
import { spawn, type ChildProcess } from "node:child_process";
import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { makeSpecDir, openGate, readResult, type Gate } from "../../../services/restorer/adapters/gate.ts";

const wrapper = fileURLToPath(new URL("../../../deploy/dmigrate-runc", import.meta.url));
const id = "c".repeat(64);
let signal: AbortSignal;

/** `runc restore` reads the FIFO, calls the hook if it is told to, and leaves a pid; everything is noted in $CALLS. */
const fakeRunc = `#!/bin/sh
echo "$*" >>"$CALLS"
case " $* " in *" restore "*) ;; *) exit 0 ;; esac
while [ $# -gt 1 ]; do
  case $1 in --image-path) images=$2 ;; --pid-file) pid_file=$2 ;; esac
  shift
done
text=$(cat "$images/descriptors.json")
[ "$text" = ' ["null"]' ] || { echo "bad descriptors: $text" >&2; exit 1; }
if [ -n "$HOOK" ]; then printf '{"ociVersion":"1","id":"x","pid":4321,"bundle":"/b"}' | "$HOOK" dmigrate-hook "$SPEC" || exit 1; fi
printf 4321 >"$pid_file"
exit "\${STATUS:-0}"
`;

let dir: string, spec: string, gate: Gate | undefined;
const running = new Set<ChildProcess>();
beforeEach(async () => {
  signal = AbortSignal.timeout(15_000);
  dir = await mkdtemp(join(tmpdir(), "wrapper-"));
  spec = join(dir, "containers", id);
  await writeFile(join(dir, "runc"), fakeRunc);
  // The empty directory is there: to mount it takes root.
  await writeFile(join(dir, "mountpoint"), "#!/bin/sh\n");
  for (const program of ["runc", "mountpoint"]) await chmod(join(dir, program), 0o755);
});
afterEach(async () => {
  gate?.close();
  gate = undefined;
  for (const child of running) child.kill("SIGKILL");
  await rm(dir, { recursive: true, force: true });
});

/** Resolves with the exit code. Output goes nowhere: in hook mode the background outlives the call and holds it. */
function call(args: string[], env: Record<string, string> = {}): Promise<number> {
  const PATH = `${dir}:${process.env["PATH"] ?? ""}`;
  const own = { PATH, DMIGRATE_STATE_DIR: dir, CALLS: join(dir, "calls"), SPEC: spec };
  const child = spawn(wrapper, args, { env: { ...own, ...env }, stdio: "ignore" });
  running.add(child);
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => {
      running.delete(child);
      resolve(code ?? 128);
    });
  });
}
const globals = (): string[] => ["--root", "/run/create", "--log", join(dir, "log.json"), "--log-format", "json"];
const create = (env?: Record<string, string>): Promise<number> =>
  call([...globals(), "create", "--bundle", "/bundle", "--pid-file", join(dir, "init.pid"), id], env);
const start = (env?: Record<string, string>): Promise<number> => call([...globals(), "start", id], env);
const calls = (): Promise<string> => readFile(join(dir, "calls"), "utf8").catch(() => "");
const told = (): Promise<string> => readFile(join(dir, "log.json"), "utf8").catch(() => "");
async function prepare(): Promise<Gate> {
  await makeSpecDir(spec);
  return (gate = openGate(spec));
}

test.each([
  ["a container that is not ours", ["--root", "/r", "create", "--bundle", "/b", "abc"]],
  ["another command", ["--root=/r", "--systemd-cgroup", "delete", "--force", id]],
  ["a command without a container", ["--version"]],
])("runs runc with the same arguments: %s", async (_what, args) => {
  expect(await call(args)).toBe(0);
  expect(await calls()).toBe(`${args.join(" ")}\n`);
});

test("passes other commands of a prepared container on", async () => {
  await prepare();
  await call(["--root", "/r", "state", id]);
  expect(await calls()).toBe(`--root /r state ${id}\n`);
});

test("plain: create restores and answers, start only says so", async () => {
  const open = await prepare();
  const created = create();
  expect(await open.request(signal)).toEqual({ wrapper, bundle: "/bundle" });
  open.answer("plain", "/work");
  await open.runcReady(signal);
  open.release(Buffer.from('["null"]'));
  expect(await created).toBe(0);
  expect(await readFile(join(dir, "init.pid"), "utf8")).toBe("4321");
  expect(readResult(spec)).toEqual({ status: 0, pid: 4321 });
  expect(await start()).toBe(0);
  expect(await calls()).toBe(
    `${globals().join(" ")} restore --detach --no-subreaper --lazy-pages --pid-file ${join(dir, "init.pid")} ` +
      `--image-path ${spec}/images --work-path /work --bundle /bundle ${id}\n`,
  );
});

test("hook: create answers with the root task held, start lets it go", async () => {
  const open = await prepare();
  const created = create({ HOOK: wrapper });
  await open.request(signal);
  open.answer("hook", "/work");
  await open.runcReady(signal);
  open.release(Buffer.from('["null"]'));
  expect(await created).toBe(0);
  expect(await readFile(join(dir, "init.pid"), "utf8")).toBe("4321");
  expect(readResult(spec)).toEqual({ pid: 4321 });
  expect(await start()).toBe(0);
  expect(readResult(spec)).toEqual({ status: 0, pid: 4321 });
});

test.each(["plain", "hook"] as const)("%s: a failed restore is a failed start", async (mode) => {
  const open = await prepare();
  const created = create({ STATUS: "3", ...(mode === "hook" && { HOOK: wrapper }) });
  await open.request(signal);
  open.answer(mode, "/work");
  await open.runcReady(signal);
  open.release(Buffer.from('["null"]'));
  const codes = [await created, await start()];
  expect(codes).toEqual(mode === "plain" ? [1, 1] : [0, 1]);
  expect(readResult(spec).status).toBe(3);
});

test("hook: the restorer's death while Docker attaches the network ends the restore", async () => {
  const open = await prepare();
  const created = create({ HOOK: wrapper });
  await open.request(signal);
  open.answer("hook", "/work");
  await open.runcReady(signal);
  open.release(Buffer.from('["null"]'));
  await created;
  open.close();
  // A start that comes before the hook has noticed lets the restore go on, which is as well: its status tells.
  await vi.waitFor(() => expect(readResult(spec).status).toBe(1), { timeout: 10_000, interval: 5 });
  expect(await start()).toBe(1);
});

test("the restorer's death before it has answered ends create, and runc is not called", async () => {
  const open = await prepare();
  const created = create();
  await open.request(signal);
  open.close();
  expect(await created).toBe(1);
  expect(await told()).toContain("the restorer of this node ended before the checkpoint had come");
  expect(await calls()).toBe("");
});

test("the restorer's death while runc waits ends create, with the reason in runc's log", async () => {
  const open = await prepare();
  const created = create();
  await open.request(signal);
  open.answer("plain", "/work");
  await open.runcReady(signal);
  open.close();
  expect(await created).toBe(1);
  const lines = (await told()).trim().split("\n");
  expect(JSON.parse(lines.at(-1) ?? "")).toMatchObject({
    level: "error",
    msg: expect.stringContaining("was not started") as unknown,
  });
});

test("a roll back ends create with its reason, made safe for JSON", async () => {
  const open = await prepare();
  const created = create();
  await open.request(signal);
  open.stop('no "room"\n\\ left');
  expect(await created).toBe(1);
  expect(JSON.parse(await told())).toEqual({
    level: "error",
    msg: "dmigrate: the migration was given up: no  room    left",
  });
});

test("without a restorer nothing waits and nothing starts", async () => {
  await makeSpecDir(spec);
  expect(await create()).toBe(1);
  expect(await start()).toBe(1);
  expect(await calls()).toBe("");
});

test("a container that was restored before is not created again", async () => {
  await prepare();
  await writeFile(join(spec, "status"), "0\n");
  expect(await create()).toBe(1);
  expect(await told()).toContain("has not finished");
  expect(await calls()).toBe("");
});

test("a container with a terminal is refused", async () => {
  await prepare();
  const args = [...globals(), "create", "--bundle", "/b", "--console-socket", "/s", "--pid-file", "/p", id];
  expect(await call(args)).toBe(1);
  expect(await told()).toContain("docker run -t");
});
