/** What the dumper depends on, each with what to mend. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type Docker from "dockerode";
import { findCgroup } from "../shared/adapters/cgroup.ts";
import { run } from "../shared/adapters/run.ts";
import type { Check } from "../shared/contracts/common.ts";
import { messageOf } from "../shared/errors.ts";
import { lockRehearsal } from "./adapters/network-lock.ts";
import { isAtLeast } from "./core/version.ts";

/** Before 4.2 CRIU fails on kernels from 6.16 on, and its images differ in ways that we do not handle. */
const leastCriu = [4, 2] as const;

const installCriu = "install CRIU 4.2 or newer";

export async function checkNode(docker: Docker): Promise<Check[]> {
  return Promise.all([
    checkCriuVersion(),
    checkCriu(),
    checkRunc(),
    checkNetworkLock(),
    checkDocker(docker),
    checkRights(),
    checkFreezer(),
  ]);
}

type Verdict = { ok: boolean; detail: string };

/** A check that throws is one that failed. */
async function check(name: string, fix: string, look: () => Promise<Verdict> | Verdict): Promise<Check> {
  const verdict = await Promise.resolve()
    .then(look)
    .catch((error: unknown) => ({ ok: false, detail: messageOf(error) }));
  return { name, ...verdict, ...(!verdict.ok && { fix }) };
}

const checkCriuVersion = (): Promise<Check> =>
  check("criu", installCriu, async () => {
    const { stdout } = await run("criu", ["--version"], { timeoutMs: 5000 });
    const version = /Version:\s*(\S+)/.exec(stdout)?.[1] ?? "unknown";
    return { ok: isAtLeast(version, leastCriu), detail: `CRIU ${version}` };
  });

const checkCriu = (): Promise<Check> =>
  check("criu-check", "run `criu check` as root: it names what the kernel or the rights lack", async () => {
    const { exitCode, stdout, stderr } = await run("criu", ["check"], { timeoutMs: 15_000 });
    const last = `${stderr}\n${stdout}`.trim().split("\n").at(-1) ?? "";
    return { ok: exitCode === 0, detail: exitCode === 0 ? "looks good" : last };
  });

const checkRunc = (): Promise<Check> =>
  check(
    "runc",
    "install runc 1.1 or newer (with Docker's package containerd.io or the distribution's runc)",
    async () => {
      const { exitCode, stdout, stderr } = await run("runc", ["--version"], { timeoutMs: 5000 });
      return { ok: exitCode === 0, detail: (stdout || stderr).split("\n")[0] ?? "" };
    },
  );

const checkNetworkLock = (): Promise<Check> =>
  check("nft", "install nftables (nft); the kernel must be Linux 5.12 or newer, with nf_tables", async () => {
    const { exitCode, stderr } = await run("unshare", ["--net", "nft", lockRehearsal], { timeoutMs: 5000 });
    const ok = exitCode === 0;
    return { ok, detail: ok ? "nft can shut a network" : stderr.trim() };
  });

const checkDocker = (docker: Docker): Promise<Check> =>
  check("docker", "start Docker, or set DMIGRATE_DOCKER_SOCKET to its socket", async () => {
    const { Version } = await docker.version();
    return { ok: true, detail: `Docker ${Version}` };
  });

const capabilities = { CAP_SYS_ADMIN: 21, CAP_SYS_PTRACE: 19, CAP_NET_ADMIN: 12, CAP_KILL: 5 };

const checkRights = (): Promise<Check> =>
  check(
    "rights",
    "run the dumper as root, outside of containers or in a privileged one with the host's pid namespace",
    async () => {
      const text = await readFile("/proc/self/status", "utf8");
      const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)/m.exec(text)?.[1] ?? "0"}`);
      const missing = Object.entries(capabilities).filter(([, bit]) => ((effective >> BigInt(bit)) & 1n) === 0n);
      const names = missing.map(([name]) => name).join(", ");
      return { ok: missing.length === 0, detail: missing.length === 0 ? "root" : `missing ${names}` };
    },
  );

const checkFreezer = (): Promise<Check> =>
  check("freezer", "mount /sys/fs/cgroup with version 2, or with version 1 and its freezer controller", () => {
    const place = findCgroup(process.pid, "freezer");
    if (place === undefined) return { ok: false, detail: "no freezer control group is mounted" };
    // The root group of version 2 has no cgroup.freeze; all others have since Linux 5.2.
    const ok = existsSync(place.dir);
    return { ok, detail: `cgroup version ${place.version} at ${place.dir}` };
  });
