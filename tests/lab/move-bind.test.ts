/** Bind mounts that move with their container. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectLab } from "../helpers/lab/connect.ts";
import { must } from "../helpers/node-link.ts";
import { execIn, removeContainers } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { runCli } from "../helpers/run-cli.ts";
import { startContainer } from "../helpers/workloads.ts";

const directory = "/srv/moved/deep/data";

describe("a bind mount that is to be moved", () => {
  const lab = connectLab();
  const { a, b } = lab.nodes;
  const user = new PlannerUser(lab.planner);
  const request = { container: "bound", from: "a", to: "b", moveBinds: [directory] };

  beforeAll(async () => {
    await lab.loadWorkload(b);
    await must(a, `mkdir -p ${directory}/sub; echo kept >${directory}/sub/file; chown -R 7:8 ${directory}/sub`);
    const script = "i=0; while :; do i=$((i+1)); echo $i >>/data/log; sleep 0.02; done";
    await startContainer(a, "bound", ["sh", "-c", script], { HostConfig: { Binds: [`${directory}:/data`] } });
  });
  afterAll(async () => {
    await removeContainers([a, b]);
    await Promise.all([a, b].map((node) => must(node, "rm -rf /srv/moved /srv/elsewhere")));
  });

  const refusals = async (changes: object): Promise<unknown> =>
    user.post({ ...request, ...changes }).then(
      () => "accepted",
      (error: unknown) => (error as { reasons: { code: string }[] }).reasons.map(({ code }) => code),
    );

  it("is refused where it is not the container's, or has data of somebody else at the destination", async () => {
    expect(await refusals({ moveBinds: [] })).toEqual(["bind-mount"]);
    expect(await refusals({ moveBinds: [directory, "/srv/other"] })).toEqual(["move-bind"]);
    await must(b, `mkdir -p ${directory}; : >${directory}/theirs`);
    expect(await refusals({})).toEqual(["bind-exists"]);
    await must(b, "rm -r /srv/moved; mkdir /srv/elsewhere; ln -s elsewhere /srv/moved");
    expect(await refusals({})).toEqual(["bind-exists"]);
    await must(b, "rm -r /srv/moved /srv/elsewhere");
    await expect(user.post({ ...request, moveBinds: ["/etc"] })).rejects.toMatchObject({ code: "invalid-request" });
  });

  it("leaves nothing behind when the migration is rolled back", async () => {
    const restored = `c=$(command -v criu); mv $c $c.real; printf '#!/bin/sh\\n[ "$1" != swrk ] || exit 1\\nexec %s.real "$@"\\n' $c >$c; chmod +x $c`;
    await must(b, restored);
    try {
      expect((await user.waitForEnd((await user.post(request)).id)).phase).toBe("aborted");
    } finally {
      await must(b, "c=$(command -v criu); mv $c.real $c");
    }
    expect(await must(b, "ls -A /srv")).toBe("");
  });

  it("moves with all that is in it, there and back", async () => {
    const move = ["migrate", "bound", "--from", "a", "--to", "b", "--move-bind", directory];
    expect((await runCli(lab.planner, move)).exitCode).toBe(0);
    expect(await must(b, `stat -c '%u %g' ${directory}/sub/file; cat ${directory}/sub/file`)).toBe("7 8\nkept\n");
    await user.migrate({ ...request, from: "b", to: "a" });
    const log = await execIn(a.docker.getContainer("bound"), ["cat", "/data/log"]);
    const lines = log.trim().split("\n").map(Number);
    expect(lines).toEqual(lines.map((_, at) => at + 1));
  });
});
