import { serve } from "@hono/node-server";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { describe, expect, test } from "vitest";
import { exitCodeHelp, exitCodeOf, exitCodes } from "../../../services/cli/exit-codes.ts";
import type { CliIo } from "../../../services/cli/io.ts";
import { runCli } from "../../../services/cli/program.ts";
import type { Migration, MigrationEvent } from "../../../services/shared/contracts/planner.ts";
import { DmigrateError, statusOf, type ErrorCode } from "../../../services/shared/errors.ts";
import { createTestPlanner, type TestPlanner } from "../../helpers/test-planner.ts";

interface Cli extends AsyncDisposable {
  planner: TestPlanner;
  url: string;
  env: NodeJS.ProcessEnv;
  interrupt: AbortController;
  run(...argv: string[]): Promise<{ code: number; stdout: string; stderr: string }>;
}

async function createCli({ isTTY = false } = {}): Promise<Cli> {
  const planner = await createTestPlanner();
  // The app of the moment: a planner that was restarted has another.
  const server = serve({ port: 0, hostname: "127.0.0.1", fetch: (request) => planner.app.fetch(request) });
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const env: NodeJS.ProcessEnv = { DMIGRATE_PLANNER: url };
  const interrupt = new AbortController();
  return {
    planner,
    url,
    env,
    interrupt,
    run: async (...argv) => {
      let [stdout, stderr] = ["", ""];
      const io: CliIo = {
        stdout: { write: (text) => (stdout += text) },
        stderr: { write: (text) => (stderr += text), isTTY, columns: 100 },
        env,
        interrupted: () => interrupt.signal,
      };
      const code = await runCli(argv, io);
      return { code, stdout, stderr };
    },
    [Symbol.asyncDispose]: async () => {
      if ("closeAllConnections" in server) server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await planner[Symbol.asyncDispose]();
    },
  };
}

describe("migrate", () => {
  test("follows the migration, a line per stage, and closes with a table", async () => {
    await using cli = await createCli();
    const { code, stdout, stderr } = await cli.run("migrate", "web", "--from", "a", "--to", "b");
    expect(code).toBe(0);
    for (const stage of ["prepare", "freeze", "dump", "ship", "resume", "drain", "commit"]) {
      expect(stderr).toMatch(new RegExp(`^${stage} took [\\d.]+ ms$`, "m"));
      expect(stdout).toMatch(new RegExp(`^ {2}${stage} +[\\d.]+ ms$`, "m"));
    }
    expect(stdout).toMatch(/^downtime +[\d.]+ ms$/m);
    expect(stdout).toMatch(/^total +[\d.]+ ms$/m);
    expect(stdout).toMatch(/^sent +3\.9 KiB$/m);
    expect(stdout).toMatch(/^pages +1000 \(100 faulted, 900 prefetched\)$/m);
  });

  test("--json: the migration is the one value on stdout", async () => {
    await using cli = await createCli();
    const { code, stdout } = await cli.run("migrate", "web", "--from", "a", "--to", "b", "--json", "--remove-source");
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ phase: "committed", pagesFaulted: 100 });
    expect(cli.planner.world.a.containers.size).toBe(1);
    expect([...cli.planner.world.a.containers.values()]).toEqual(["absent"]);
  });

  test("on a terminal: one line that changes", async () => {
    await using cli = await createCli({ isTTY: true });
    const { code, stderr } = await cli.run("migrate", "web", "--from", "a", "--to", "b");
    expect(code).toBe(0);
    expect(stderr.split("\n")).toHaveLength(2);
    expect(stderr).toContain("\r\x1b[2Kdraining");
    for (const line of stderr.split("\r\x1b[2K")) expect(line.trimEnd().length).toBeLessThan(100);
  });

  test("rolled back: 1, and why", async () => {
    await using cli = await createCli();
    cli.planner.a.fail("POST /checkpoints/:id/dump", { kind: "problem", code: "checkpoint-failed" });
    const { code, stdout, stderr } = await cli.run("migrate", "web", "--from", "a", "--to", "b");
    expect(code).toBe(exitCodes.failed);
    expect(stdout).toMatch(/^phase +aborted$/m);
    expect(stderr).toContain("was rolled back, the container runs on where it was: the dumper of node a: made to fail");
  });

  test("refused: 3, and every reason on its line", async () => {
    await using cli = await createCli();
    cli.planner.world.profile.refusals = [
      { code: "privileged", message: "it is privileged" },
      { code: "host-pid", message: "it uses the host's pid namespace" },
    ];
    const { code, stdout, stderr } = await cli.run("migrate", "web", "--from", "a", "--to", "b");
    expect(code).toBe(exitCodes.refused);
    expect(stdout).toBe("");
    expect(stderr).toContain("cannot move from a to b:\n  - it is privileged [privileged]\n  - it uses the host's");
    const json = await cli.run("migrate", "web", "--from", "a", "--to", "b", "--json");
    expect(JSON.parse(json.stderr)).toMatchObject({
      status: 422,
      code: "not-migratable",
      reasons: [{ code: "privileged" }, {}],
    });
  });

  test("Ctrl-C detaches: the migration goes on", async () => {
    await using cli = await createCli();
    const held = cli.planner.b.hold("POST /restores");
    const running = cli.run("migrate", "web", "--from", "a", "--to", "b");
    await held.arrived;
    cli.interrupt.abort();
    const { code, stderr } = await running;
    expect(code).toBe(exitCodes.interrupted);
    const id = /m-[0-9a-f]{16}/.exec(stderr)?.[0] ?? "";
    expect(stderr).toContain(`dmigrate cancel ${id}`);
    held.release();
    expect((await cli.planner.until(id)).phase).toBe("committed");
  });

  test("a planner that is restarted meanwhile is followed on", async () => {
    await using cli = await createCli();
    cli.planner.world.b.drainPolls = 200;
    const running = cli.run("migrate", "web", "--from", "a", "--to", "b", "--json");
    await expect
      .poll(async () => {
        const list = (await (await cli.planner.request("GET", "/migrations")).json()) as { migrations: Migration[] };
        return list.migrations[0]?.phase;
      })
      .toBe("draining");
    await cli.planner.crash();
    cli.planner.restart();
    const { code, stdout } = await running;
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ phase: "committed" });
  });
});

describe("plan", () => {
  test("says what would be, and why", async () => {
    await using cli = await createCli();
    const { code, stdout } = await cli.run("plan", "web", "--from", "a", "--to", "b");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^readers +1$/m);
    expect(stdout).toContain(
      "because:\n  - link a -> b: of unknown speed; a migration of 32 MiB or more measures it\n  - 1 reader:",
    );
  });
  test("refused: 3, and still the plan", async () => {
    await using cli = await createCli();
    cli.planner.world.profile.bindMounts = [{ source: "/srv/data", target: "/data", directory: true }];
    const { code, stdout } = await cli.run("plan", "web", "--from", "a", "--to", "b", "--json");
    expect(code).toBe(exitCodes.refused);
    expect(JSON.parse(stdout)).toMatchObject({ refusals: [{ code: "bind-mount" }] });
    const shared = await cli.run(
      "plan",
      "web",
      "--from",
      "a",
      "--to",
      "b",
      "--shared-path",
      "/mnt",
      "--shared-path",
      "/srv",
    );
    expect(shared.code).toBe(0);
  });
});

describe("status, events, cancel, abandon", () => {
  test("of one and of all", async () => {
    await using cli = await createCli();
    const { id } = await cli.planner.start();
    await cli.planner.until(id);
    const status = await cli.run("status", id);
    expect(status.stdout).toMatch(/^phase +committed$/m);
    expect(status.stdout).toContain("planned:\n  - link a -> b: 1 Gbit/s, measured");
    expect((await cli.run("status")).stdout).toMatch(new RegExp(`^${id} +web +a +b +committed`, "m"));
    expect(JSON.parse((await cli.run("status", "--json")).stdout)).toMatchObject({ migrations: [{ id }] });
    const events = JSON.parse((await cli.run("events", id, "--json")).stdout) as MigrationEvent[];
    expect(events.at(-1)).toMatchObject({ type: "phase", phase: "committed" });
    expect((await cli.run("events", id, "--follow")).stdout).toMatch(/committed +phase/);
    const late = await cli.run("cancel", id);
    expect(late.code).toBe(exitCodes.conflict);
    expect(late.stderr).toContain("already runs on node b");
  });

  test("cancel while preparing", async () => {
    await using cli = await createCli();
    const held = cli.planner.b.hold("POST /restores");
    const { id } = await cli.planner.start();
    await held.arrived;
    expect((await cli.run("cancel", id)).code).toBe(0);
    held.release();
    expect((await cli.planner.until(id)).phase).toBe("aborted");
  });

  test("abandon: the migration goes on without the node, and status says so", async () => {
    await using cli = await createCli();
    const { planner } = cli;
    planner.b.fail("POST /restores/:id/resume", { kind: "hung" });
    const running = cli.run("migrate", "web", "--from", "a", "--to", "b");
    await expect.poll(() => planner.world.calls).toContain("b POST /restores/:id/resume");
    const id = /m-[0-9a-f]{16}/.exec((await cli.run("status")).stdout)?.[0] ?? "";
    const answering = await cli.run("abandon", id, "--node", "b");
    expect(answering.code).toBe(exitCodes.conflict);
    expect(answering.stderr).toContain("node b answers");
    expect((await cli.run("abandon", id, "--node", "c")).code).toBe(exitCodes.usage);
    await planner.a.down();
    planner.b.fail("GET /healthz", { kind: "dropped" });
    const given = await cli.run("abandon", id, "--node", "b");
    expect(given).toMatchObject({ code: 0, stderr: "" });
    expect(given.stdout).toContain(`migration ${id} goes on without node b (`);
    expect((await cli.run("status", id)).stdout).toMatch(/^abandoned +b$/m);
    const both = await cli.run("abandon", id, "--node", "a", "--json");
    expect(JSON.parse(both.stdout)).toMatchObject({ id, abandoned: ["b", "a"] });
    const { code, stderr } = await running;
    expect(code).toBe(exitCodes.failed);
    expect(stderr).toContain("has ended without node a, where the container was");
    const late = await cli.run("abandon", id, "--node", "b");
    expect(late.code).toBe(exitCodes.conflict);
    expect(late.stderr).toContain("has ended (aborted)");
  });

  test("abandon --help says what a wrong word does", async () => {
    await using cli = await createCli();
    const { code, stdout } = await cli.run("abandon", "--help");
    expect(code).toBe(0);
    expect(stdout).toContain("THE CONTAINER MAY RUN TWICE");
  });

  test.each([
    [["status", "m-0000000000000000"], exitCodes.conflict, "there is no migration"],
    [["events", "m-0000000000000000"], exitCodes.conflict, "there is no migration"],
    [["status", "../nodes"], exitCodes.usage, "no migration id"],
    [["cancel", "42"], exitCodes.usage, "no migration id"],
    [["abandon", "42", "--node", "a"], exitCodes.usage, "no migration id"],
    [["abandon", "m-0000000000000000", "--node", "a/b"], exitCodes.usage, "no node name"],
    [["abandon", "m-0000000000000000"], exitCodes.usage, "--node"],
    [["abandon", "m-0000000000000000", "--node", "a"], exitCodes.conflict, "there is no migration"],
  ] as const)("%j: %i", async (argv, expected, text) => {
    await using cli = await createCli();
    const { code, stdout, stderr } = await cli.run(...argv);
    expect(code).toBe(expected);
    expect(stdout).toBe("");
    expect(stderr).toContain(text);
  });
});

describe("nodes", () => {
  test("add by file and by variable, list, remove", async () => {
    await using cli = await createCli();
    const directory = mkdtempSync(join(tmpdir(), "dmigrate-cli-"));
    const file = join(directory, "token");
    writeFileSync(file, `${cli.planner.a.token}\n`);
    const added = await cli.run("nodes", "add", "c", "--url", cli.planner.a.url, "--token-file", file);
    expect(added).toMatchObject({ code: 0, stdout: "node c is registered, and answers\n" });
    cli.env["NODE_TOKEN"] = "a-token-that-is-wrong";
    const wrong = await cli.run("nodes", "add", "d", "--url", cli.planner.a.url, "--token-env", "NODE_TOKEN", "--json");
    expect(wrong.code).toBe(0);
    expect(JSON.parse(wrong.stdout)).toMatchObject({ name: "d", reachable: false, dataHost: "127.0.0.1" });
    const list = await cli.run("nodes");
    expect(list.stdout).toMatch(/^c +http\S+ +yes +4 cores/m);
    expect(list.stdout).toMatch(/^d +http\S+ +no .*token/m);
    const json = await cli.run("nodes", "list", "--json");
    expect(JSON.parse(json.stdout)).toMatchObject({
      nodes: [{ name: "a" }, { name: "b" }, { name: "c" }, { name: "d" }],
    });
    expect(json.stdout + wrong.stdout).not.toContain(cli.planner.a.token);
    expect((await cli.run("nodes", "remove", "c")).code).toBe(0);
    expect((await cli.run("nodes", "remove", "c")).code).toBe(exitCodes.conflict);
    rmSync(directory, { recursive: true });
  });

  test.each([
    [["nodes", "add", "c", "--url", "http://127.0.0.1:1"], "--token-file or --token-env"],
    [["nodes", "add", "c", "--url", "http://127.0.0.1:1", "--token-file", "/does/not/exist"], "ENOENT"],
    [["nodes", "add", "c", "--url", "http://127.0.0.1:1", "--token-env", "NOT_SET"], "NOT_SET"],
    [["nodes", "add", "a/b", "--url", "http://127.0.0.1:1", "--token-env", "HERE"], "no node name"],
    [["nodes", "add", "c", "--url", "ftp://x", "--token-env", "HERE"], "agent.url"],
  ])("%j is bad usage", async (argv, text) => {
    await using cli = await createCli();
    cli.env["HERE"] = "0123456789abcdef";
    const { code, stderr } = await cli.run(...argv);
    expect(code).toBe(exitCodes.usage);
    expect(stderr).toContain(text);
  });
});

test("doctor --node says what that node lacks", async () => {
  await using cli = await createCli();
  const { docker } = cli.planner.world.b.resources;
  cli.planner.world.b.resources = {
    ...cli.planner.world.b.resources,
    criuVersion: "4.0",
    docker: { ...docker, hasDmigrateRuntime: false },
  };
  const well = await cli.run("doctor", "--node", "a");
  expect(well.code).toBe(0);
  const ill = await cli.run("doctor", "--node", "b", "--json");
  expect(ill.code).toBe(exitCodes.failed);
  const { ok, checks } = JSON.parse(ill.stdout) as {
    ok: boolean;
    checks: { name: string; ok: boolean; fix?: string }[];
  };
  expect(ok).toBe(false);
  expect(checks.filter((check) => !check.ok).map(({ name }) => name)).toEqual(["criu", "dmigrate runtime"]);
  expect(checks.filter((check) => !check.ok && check.fix === undefined)).toEqual([]);
});

test("doctor on a machine that is no node names what to mend, and touches nothing", async () => {
  await using cli = await createCli();
  cli.env["DMIGRATE_DOCKER_SOCKET"] = "/does/not/exist.sock";
  cli.env["DMIGRATE_STATE_DIR"] = "/proc/dmigrate";
  cli.env["DMIGRATE_LISTEN"] = "127.0.0.1:1";
  cli.env["DMIGRATE_DATA_LISTEN"] = "127.0.0.1:1";
  const { code, stdout } = await cli.run("doctor");
  expect(code).toBe(exitCodes.failed);
  for (const name of ["docker", "state directory", "state room", "agent", "data port"])
    expect(stdout).toContain(`FAIL  ${name}:`);
  expect(stdout).toContain("to mend it:");
});

describe("usage", () => {
  test.each([[["--help"]], [["migrate", "--help"]], [["agent", "--help"]], [["planner", "--help"]]])(
    "%j is help",
    async (argv) => {
      await using cli = await createCli();
      const { code, stdout } = await cli.run(...argv);
      expect(code).toBe(0);
      expect(stdout.length).toBeGreaterThan(100);
    },
  );
  test("help lists the exit codes, each of them", async () => {
    await using cli = await createCli();
    expect((await cli.run("--help")).stdout).toContain(exitCodeHelp);
    for (const code of Object.values(exitCodes)) expect(exitCodeHelp).toMatch(new RegExp(`^ {2}${code} `, "m"));
  });
  test.each([
    [["migrate", "web"]],
    [["no-such-command"]],
    [["migrate", "web", "--from", "a", "--to", "b", "--colour"]],
    [["planner", "--no-such-flag", "1"]],
  ])("%j is bad usage", async (argv) => {
    await using cli = await createCli();
    const { code, stdout, stderr } = await cli.run(...argv);
    expect(code).toBe(exitCodes.usage);
    expect(stdout).toBe("");
    expect(stderr).not.toBe("");
  });
  test("a planner that is not there, an address that is none, and a wrong token", async () => {
    await using cli = await createCli();
    const gone = await cli.run("status", "--planner", "http://127.0.0.1:1");
    expect(gone.code).toBe(exitCodes.unreachable);
    expect(gone.stderr).toContain("DMIGRATE_PLANNER");
    expect((await cli.run("status", "--planner", "nowhere")).code).toBe(exitCodes.usage);
    // A fake node checks tokens as a planner does.
    const refused = await cli.run("status", "--planner", cli.planner.a.url);
    expect(refused.code).toBe(exitCodes.usage);
    expect(refused.stderr).toContain("DMIGRATE_TOKEN");
  });
});

test("every error has an exit code of its kind", () => {
  for (const code of Object.keys(statusOf) as ErrorCode[])
    expect(exitCodeOf(new DmigrateError(code, "x"))).toBeGreaterThan(0);
});
