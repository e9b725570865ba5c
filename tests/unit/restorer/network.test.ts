import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { attachNetwork, type HeldNamespace } from "../../../services/restorer/adapters/network.ts";

const containerId = "c".repeat(64);
let dir: string;
let server: Server | undefined;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "network-"));
  mkdirSync(join(dir, "netns"));
  // Stands for the place at which Docker keeps the namespace: this process's own, by another name.
  symlinkSync(`/proc/${process.pid}/ns/net`, join(dir, "netns/kept"));
});

afterEach(async () => {
  await new Promise<void>((resolve) => (server === undefined ? resolve() : server.close(() => resolve())));
  server = undefined;
  rmSync(dir, { recursive: true });
});

/** A Docker that listens for what its hook has to say. */
async function listen(answer: string): Promise<string[]> {
  const heard: string[] = [];
  server = createServer((socket) =>
    socket.once("data", (data) => {
      heard.push(data.toString());
      socket.end(answer);
    }),
  );
  await new Promise<void>((resolve) => server?.listen(join(dir, "ctl.sock"), resolve));
  return heard;
}

/** Its hook, which notes what it was told. */
const writeHook = (exitCode: number): void =>
  writeFileSync(join(dir, "hook"), `#!/bin/sh\necho "$@" >${dir}/args; cat >${dir}/input; exit ${exitCode}\n`, {
    mode: 0o755,
  });

function attach(settled: ReadonlyMap<string, string>[] = []): Promise<string> {
  const namespace: HeldNamespace = {
    settle: (settings) => {
      settled.push(settings);
      return Promise.resolve(process.pid);
    },
    end: () => Promise.resolve(),
  };
  return attachNetwork({
    containerId,
    bundle: "/bundle",
    namespace,
    settings: new Map([["net/ipv4/ip_forward", "1"]]),
    hook: {
      path: join(dir, "hook"),
      args: ["libnetwork-setkey", "id", "ctl"],
      namespacesDir: join(dir, "netns"),
      socket: join(dir, "ctl.sock"),
    },
    timeoutMs: 5_000,
  });
}

test("tells Docker what its hook would tell it, once the namespace has its settings", async () => {
  const heard = await listen("success");
  const settled: ReadonlyMap<string, string>[] = [];
  expect(await attach(settled)).toBe(join(dir, "netns/kept"));
  expect(settled).toEqual([new Map([["net/ipv4/ip_forward", "1"]])]);
  expect(heard.map((text) => JSON.parse(text) as unknown)).toEqual([
    { ContainerID: containerId, Key: `/proc/${process.pid}/ns/net` },
  ]);
});

test.each([
  ["no sandbox present", /no sandbox present/],
  ["", /no answer/],
])("fails with Docker's reason: %s", async (answer, message) => {
  await listen(answer);
  await expect(attach()).rejects.toMatchObject({ code: "upstream", message: expect.stringMatching(message) as string });
});

test("runs the hook where Docker does not listen", async () => {
  writeHook(0);
  expect(await attach()).toBe(join(dir, "netns/kept"));
  expect(readFileSync(join(dir, "args"), "utf8")).toBe("id ctl\n");
  expect(JSON.parse(readFileSync(join(dir, "input"), "utf8"))).toMatchObject({ id: containerId, pid: process.pid });
  writeHook(1);
  await expect(attach()).rejects.toMatchObject({ code: "upstream" });
});

test("fails when Docker keeps the namespace nowhere", async () => {
  await listen("success");
  rmSync(join(dir, "netns/kept"));
  await expect(attach()).rejects.toMatchObject({ code: "upstream" });
});
