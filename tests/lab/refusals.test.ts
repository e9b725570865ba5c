import { z } from "zod";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { DmigrateError } from "../../services/shared/errors.ts";
import { connectLab } from "../helpers/lab/connect.ts";
import { readNodeState, removeContainers, type NodeState } from "../helpers/node-state.ts";
import { PlannerUser, type MigrationRequest } from "../helpers/planner.ts";
import { pollUntil } from "../helpers/poll-until.ts";
import { runCli } from "../helpers/run-cli.ts";
import { startContainer, watching } from "../helpers/workloads.ts";

const sleeper = ["sleep", "infinity"];

describe("a migration that cannot be done", () => {
  const lab = connectLab();
  const { planner } = lab;
  const { a, b } = lab.nodes;
  const user = new PlannerUser(planner);
  let before: NodeState[];

  const stateOfBoth = (): Promise<NodeState[]> => Promise.all([a, b].map(readNodeState));

  beforeAll(async () => {
    await startContainer(a, "movable", ["sh", "-c", "head -c 100000000 /dev/urandom >/srv/big; exec sleep infinity"]);
    const HostConfig = { NetworkMode: "host", PidMode: "host", Privileged: true, Binds: ["/srv:/mnt"] };
    await startContainer(a, "immovable", sleeper, { HostConfig });
    await lab.loadWorkload(b);
    await startContainer(b, "taken", sleeper);
    await startContainer(a, "taken", sleeper);
    await startContainer(a, "bound", sleeper, { HostConfig: { Binds: ["/srv:/mnt"] } });
    await startContainer(a, "watching", watching("/srv"));
    await startContainer(a, "stored", ["sh", "-c", "head -c 40000000 /dev/urandom >/data/big; exec sleep infinity"], {
      Volumes: { "/data": {} },
    });
    before = await stateOfBoth();
  });

  afterEach(async () => expect(await stateOfBoth()).toEqual(before));
  afterAll(() => removeContainers([a, b]));

  async function refusalOf(request: MigrationRequest): Promise<DmigrateError> {
    const error = await user.post(request).then(
      () => undefined,
      (thrown: unknown) => thrown,
    );
    if (!(error instanceof DmigrateError)) throw new Error("the migration was accepted");
    return error;
  }

  const codesOf = ({ reasons }: DmigrateError): string[] => reasons.map(({ code }) => code);

  it("names an unknown container", async () => {
    const error = await refusalOf({ container: "nobody", from: "a", to: "b" });
    expect(error.code).toBe("not-found");
    expect(error.message).toContain("nobody");
  });

  it("names an unknown node", async () => {
    const error = await refusalOf({ container: "movable", from: "a", to: "mars" });
    expect(error.code).toBe("not-found");
    expect(error.message).toContain("mars");
  });

  it("refuses a wrong token, of the planner and of a node", async () => {
    const stranger = new PlannerUser({ url: planner.url, token: "not-the-right-token" });
    await expect(stranger.list()).rejects.toMatchObject({ code: "upstream" });
    const direct = await fetch(`${a.agentUrl}/containers/movable`, {
      headers: { authorization: "Bearer not-the-right-token" },
    });
    expect(direct.status).toBe(401);
    await user.client.put("/nodes/mistaken", { agent: { url: b.agentUrl, token: "not-the-right-token" } }, z.unknown());
    const error = await refusalOf({ container: "movable", from: "a", to: "mistaken" });
    expect(error.message).toContain("token");
    await user.client.delete("/nodes/mistaken", z.unknown());
  });

  it("refuses a container that cannot move, with every reason at once", async () => {
    const error = await refusalOf({ container: "immovable", from: "a", to: "b" });
    expect(error.code).toBe("not-migratable");
    expect(codesOf(error)).toEqual(expect.arrayContaining(["host-network", "host-pid", "privileged", "bind-mount"]));
  });

  it("takes a bind mount only when it is declared shared", async () => {
    expect(codesOf(await refusalOf({ container: "bound", from: "a", to: "b" }))).toEqual(["bind-mount"]);
    const elsewhere = await refusalOf({ container: "bound", from: "a", to: "b", sharedPaths: ["/srvother"] });
    expect(codesOf(elsewhere)).toEqual(["bind-mount"]);
  });

  it("refuses a container that watches files of its own, which CRIU would meet in the freeze", async () => {
    expect(codesOf(await refusalOf({ container: "watching", from: "a", to: "b" }))).toEqual(["inotify"]);
  });

  it("refuses a name that another container has on the destination", async () => {
    const error = await refusalOf({ container: "taken", from: "a", to: "b" });
    expect(error.message).toContain("taken");
  });

  it("refuses to move a container to where it is", async () => {
    const error = await refusalOf({ container: "movable", from: "a", to: "a" });
    expect(codesOf(error)).toEqual(["same-node"]);
  });

  it("refuses a destination without room", async () => {
    await b.exec(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", "/var/lib/docker"]);
    try {
      const error = await refusalOf({ container: "movable", from: "a", to: "b" });
      expect(error.code).toBe("not-migratable");
      expect(codesOf(error).join()).toMatch(/disk/);
    } finally {
      await b.exec(["umount", "/var/lib/docker"]);
    }
  });

  it("refuses a destination whose file system for volumes has no room, whatever there is in Docker's directory", async () => {
    await b.exec(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", "/var/lib/docker/volumes"]);
    try {
      const error = await refusalOf({ container: "stored", from: "a", to: "b" });
      expect(codesOf(error)).toEqual(["disk"]);
      expect(error.reasons[0]?.message).toMatch(/at \/var\/lib\/docker\/volumes, .* needed for volume /);
    } finally {
      await b.exec(["umount", "/var/lib/docker/volumes"]);
    }
  });

  it("refuses a destination that has room for all bytes and not for all files", async () => {
    await b.exec(["mount", "-t", "tmpfs", "-o", "size=4g,nr_inodes=2000", "tmpfs", "/var/lib/docker"]);
    try {
      const error = await refusalOf({ container: "movable", from: "a", to: "b" });
      expect(error.code).toBe("not-migratable");
      expect(codesOf(error).join()).toMatch(/inodes/);
    } finally {
      await b.exec(["umount", "/var/lib/docker"]);
    }
  });

  it("refuses a destination without the runtime wrapper, and says what to do", async () => {
    await withRuntimes(false);
    try {
      const error = await refusalOf({ container: "movable", from: "a", to: "b" });
      expect(error.code).toBe("not-migratable");
      expect(error.reasons.map(({ message }) => message).join()).toContain("daemon.json");
    } finally {
      await withRuntimes(true);
    }
  });

  const daemonJson = "/etc/docker/daemon.json";

  /** Gives dockerd another daemon.json to read (SIGHUP), as an operator would. */
  async function withRuntimes(kept: boolean): Promise<void> {
    if (kept) await b.exec(["mv", `${daemonJson}.whole`, daemonJson]);
    else await b.exec(["sh", "-c", `mv ${daemonJson} ${daemonJson}.whole; echo '{"runtimes":{}}' >${daemonJson}`]);
    await b.exec(["pkill", "-HUP", "-x", "dockerd"]);
    await pollUntil("dockerd to know its runtimes", 10_000, async () => {
      const { Runtimes } = (await b.docker.info()) as { Runtimes: object };
      return "dmigrate" in Runtimes === kept ? true : undefined;
    });
  }

  it("answers bad input with the field at fault", async () => {
    const cases: [object, string][] = [
      [{ container: "movable", from: "a", to: "b", speed: 9 }, "speed"],
      [{ container: "movable", from: "a" }, "to"],
      [{ container: 7, from: "a", to: "b" }, "container"],
      [{ container: "../x", from: "a", to: "b" }, "container"],
      [{ container: "movable", from: "a", to: "b", mode: "teleport" }, "mode"],
    ];
    for (const [request, field] of cases) {
      const error = await refusalOf(request as MigrationRequest);
      expect([error.code, error.fields.map((at) => at.field)]).toEqual(["invalid-request", [field]]);
    }
  });

  it("ends the CLI with the documented exit code and one line", async () => {
    const refused = await runCli(planner, ["migrate", "immovable", "--from", "a", "--to", "b"], { stderr: "pipe" });
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain("privileged");
    const unknown = await runCli(planner, ["migrate", "nobody", "--from", "a", "--to", "b"], { stderr: "pipe" });
    expect(unknown.exitCode).toBe(4);
  });
});
