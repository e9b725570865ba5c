/** What this node's CRIU is and can do. */
import { release } from "node:os";
import { run } from "../../shared/adapters/run.ts";
import type { Check } from "../../shared/contracts/common.ts";
import { isAtLeast, parseCriuVersion, type CriuVersion } from "../../shared/core/page-server/layout.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";

/** The version of `criu`. Throws `unavailable` when it is not there or names no version. */
export async function readCriuVersion(criu: string): Promise<CriuVersion> {
  const { stdout } = await run(criu, ["--version"], { timeoutMs: 5_000 });
  const version = parseCriuVersion(stdout);
  if (version === undefined)
    throw new DmigrateError("unavailable", `${criu} --version names no version; install CRIU 4.2 or later`);
  return version;
}

/** CRIU before 4.2 fails to restore on kernels from 6.16 on; elsewhere 4.0 does. */
function oldestCriu(kernel: string): CriuVersion {
  const match = /^(\d+)\.(\d+)/.exec(kernel);
  const kernelVersion = { major: Number(match?.[1] ?? 0), minor: Number(match?.[2] ?? 0) };
  return { major: 4, minor: isAtLeast(kernelVersion, { major: 6, minor: 16 }) ? 2 : 0 };
}

/** Readiness of the pager: a CRIU that is new enough, and a kernel whose userfaultfd reports fork, remap and unmap. */
export async function checkCriu(criu: string): Promise<Check[]> {
  const checks: Check[] = [];
  const oldest = oldestCriu(release());
  const fix = `install CRIU ${oldest.major}.${oldest.minor} or later`;
  try {
    const version = await readCriuVersion(criu);
    const ok = isAtLeast(version, oldest);
    const detail = `CRIU ${version.major}.${version.minor} on kernel ${release()}`;
    checks.push({ name: "criu", ok, detail, ...(!ok && { fix }) });
  } catch (error) {
    return [{ name: "criu", ok: false, detail: messageOf(error), fix }];
  }
  const { exitCode } = await run(criu, ["check", "--feature", "uffd-noncoop"], { timeoutMs: 5_000 });
  const ok = exitCode === 0;
  checks.push({
    name: "userfaultfd",
    ok,
    detail: ok ? "the kernel reports fork, remap and unmap" : "criu check --feature uffd-noncoop fails",
    ...(!ok && {
      fix: "run a kernel with CONFIG_USERFAULTFD, and the pager as root (or set vm.unprivileged_userfaultfd=1)",
    }),
  });
  return checks;
}
