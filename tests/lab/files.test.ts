import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connectLab } from "../helpers/lab/connect.ts";
import { execIn, removeContainers } from "../helpers/node-state.ts";
import { PlannerUser } from "../helpers/planner.ts";
import { pollUntil } from "../helpers/poll-until.ts";
import { startContainer, watching } from "../helpers/workloads.ts";

/** Prints every attribute and a checksum of what is below the directories, but for the files that are Docker's own. */
const listing = [
  "sh",
  "-c",
  "find /srv /data /etc /usr/share/doc -xdev \\( -path /etc/hosts -o -path /etc/hostname -o -path /etc/resolv.conf -o -path /etc/mtab \\) -prune -o -printf '%p %y %m %U:%G %s %T@ %n %l\\n' | grep -v ' d ' | sort; find /srv /data /usr/share/doc -xdev -type d -printf '%p %m %U:%G %T@\\n' | sort; find /srv /data -xdev -type f -exec cksum {} + | sort; ls /opt",
];

const change = [
  "sh",
  "-ec",
  `
  mkdir -p /srv/deep/er "/srv/a b" && echo new >/srv/deep/er/new && echo odd >"/srv/a b/$(printf 'x\\377y')"
  ln /srv/deep/er/new /srv/hard && ln -s ../nowhere /srv/dangling && ln -s /etc/passwd /srv/absolute && mkfifo -m 620 /srv/fifo
  echo secret >/srv/private && chown 1234:4321 /srv/private && chmod 4750 /srv/private && touch -d '2001-02-03 04:05:06.123456789' /srv/private
  truncate -s 5M /srv/sparse && printf end >>/srv/sparse && echo changed >>/etc/debian_version && rm /etc/issue && rm -r /usr/share/doc/* && mkdir /usr/share/doc/anew
  echo volume >/data/kept && mkdir /data/dir && ln -s kept /data/dir/link && chmod 1777 /data && rm -rf /opt && mkdir /opt && echo opaque >/opt/only
  `,
];

describe("a container with changed, deleted and new files", () => {
  const { nodes, planner } = connectLab();
  const { a, b } = nodes;
  const user = new PlannerUser(planner);
  let expected = "";

  beforeAll(async () => {
    const script = "exec 3>>/srv/log; i=0; while sleep 0.02; do i=$((i+1)); echo $i >&3; echo $i >/srv/current; done";
    const container = await startContainer(a, "files", ["sh", "-c", script], {
      HostConfig: { Mounts: [{ Type: "volume", Source: "files-data", Target: "/data" }] },
    });
    await execIn(container, change);
    expected = await execIn(container, listing);
  });

  afterAll(() => removeContainers([a, b]));

  /** Everything but what the workload writes all the time. */
  const quiet = (text: string): string[] =>
    text.split("\n").filter((line) => !/\/srv\/(log|current)|^\/srv \d/.test(line));

  it.each([
    ["a", "b"],
    ["b", "a"],
  ] as const)("keeps exactly those on the way from %s to %s", async (from, to) => {
    await user.migrate({ container: "files", from, to });
    const container = nodes[to].docker.getContainer("files");
    expect(quiet(await execIn(container, listing))).toEqual(quiet(expected));
  });

  it("goes on with the files that were open, without a gap", async () => {
    const container = a.docker.getContainer("files");
    const log = await execIn(container, ["cat", "/srv/log"]);
    const lines = log.trim().split("\n").map(Number);
    expect(lines).toEqual(lines.map((_, at) => at + 1));
    const later = await execIn(container, ["sh", "-c", "sleep 0.5; wc -l </srv/log"]);
    expect(Number(later)).toBeGreaterThan(lines.length);
  });
});

describe("a container with files that are open and have no name any more, and that watches a volume", () => {
  const { nodes, planner } = connectLab();
  const { a, b } = nodes;
  const user = new PlannerUser(planner);
  const read = ["sh", "-c", "cksum </proc/1/fd/3; cksum </proc/1/fd/4; grep -c ^inotify /proc/1/fdinfo/5"];

  afterAll(() => removeContainers([a, b]));

  it("has them after a move", async () => {
    const write = "head -c 20000000 /dev/urandom >&3; head -c 5000 /dev/urandom >&4; rm /srv/large /srv/small";
    const script = `exec 3<>/srv/large 4<>/srv/small; ${write}; exec "$@"`;
    const container = await startContainer(a, "nameless", ["bash", "-c", script, "bash", ...watching("/data")], {
      HostConfig: { Mounts: [{ Type: "volume", Source: "nameless-data", Target: "/data" }] },
    });
    // It comes last: from then on nothing is written.
    await pollUntil("its watch", 10_000, async () => {
      const watches = await execIn(container, ["sh", "-c", "grep -c ^inotify /proc/1/fdinfo/5 || :"]);
      return watches.trim() === "1" ? true : undefined;
    });
    const before = await execIn(container, read);
    expect(before).toContain(" 20000000\n");
    await user.migrate({ container: "nameless", from: "a", to: "b" });
    expect(await execIn(b.docker.getContainer("nameless"), read)).toBe(before);
  });
});
