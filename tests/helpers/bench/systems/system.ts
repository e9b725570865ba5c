/** A system that migrates containers, as the benchmark uses each of them. */
import type { BenchLab } from "../bench-lab.ts";
import type { Shell } from "../shell.ts";
import type { Program } from "../workloads/workload.ts";

/** The container's name, on both nodes. */
export const containerName = "bench";
/** Where the peers put their images: tmpfs. */
export const scratch = "/run/bench";

/** What a system with post-copy says of it. */
export interface Drain {
  /** From the resume to the last page, ms. */
  readonly ms: number;
  /** Of memory that came after the resume, where the system tells. */
  readonly bytes?: number;
  /** Of pages that may wait at the destination, where the system has such a bound. */
  readonly windowBytes?: number;
}

export interface System {
  readonly name: string;
  /** How many copies of the program's data are there at once, at the worst: in processes and on tmpfs. */
  readonly copies: number;
  /** Runs the program's container on node a. */
  start(lab: BenchLab, program: Program): Promise<void>;
  /** Moves it to node b; resolves when node a needs nothing of it any more, and node b nothing of a. */
  migrate(lab: BenchLab, program: Program, timeoutMs: number): Promise<Drain | undefined>;
  /** The start of a command line that runs a command in the container. */
  readonly exec: string;
}

/** What CRIU is told where the options of its callers do not reach: quiet logs, and connections that do not survive. */
export const criuOptions = {
  source: "verbosity 1\ntcp-established\nskip-in-flight\nfile-locks\n",
  destination: "verbosity 1\ntcp-close\nfile-locks\n",
};

/** Settings of CRIU for the peers; Dmigrate brings its own. */
export async function configureCriu({ a, b }: BenchLab): Promise<void> {
  const write = (text: string): string =>
    `mkdir -p /etc/criu && printf '${text.replaceAll("\n", "\\n")}' > /etc/criu/runc.conf`;
  await Promise.all([a.run(write(criuOptions.source)), b.run(write(criuOptions.destination))]);
}

/** Removes what any system may have left on a node, also after it failed. */
export async function clearNode(shell: Shell): Promise<void> {
  await shell.run(
    [
      "pkill -KILL -x socat",
      `pgrep -x criu >/dev/null && pkill -KILL -f 'criu .*${scratch}'`,
      // A dump that was killed leaves its control group frozen, and nothing in there can end.
      "for f in $(find /sys/fs/cgroup/freezer -mindepth 2 -name freezer.state 2>/dev/null); do echo THAWED > $f; done",
      "for f in $(find /sys/fs/cgroup -mindepth 2 -name cgroup.freeze 2>/dev/null); do echo 0 > $f; done",
      `docker rm -fv ${containerName}`,
      `command -v podman >/dev/null && podman rm -f -t 0 --ignore ${containerName}`,
      `rm -rf ${scratch} /etc/criu/runc.conf`,
      `mkdir -p ${scratch}`,
      "true",
    ].join("; ") + " >/dev/null 2>&1; true",
    { quiet: true, timeoutMs: 60_000 },
  );
}

/** What CRIU says went wrong, on either node, in the peers' logs: engines only name the file. Empty when there is nothing. */
export async function criuErrors({ a, b }: BenchLab): Promise<string> {
  const logs = `${scratch}/*/*.log /var/lib/containers/storage/overlay-containers/*/userdata/*.log`;
  const read = `cat ${logs} 2>/dev/null | grep -m 2 Error; true`;
  const found = await Promise.all([a, b].map((shell) => shell.run(read, { quiet: true }).catch(() => "")));
  return found.filter((text) => text !== "").join("\n");
}
