/** What this node's CRIU is and can do. */
import { stat } from "node:fs/promises";
import { release } from "node:os";
import { join } from "node:path";
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

/** Before 4.2 CRIU fails on kernels from 6.16 on. */
const oldest: CriuVersion = { major: 4, minor: 2 };

/**
 * The version of a CRIU that can serve lazy pages here. It also makes CRIU note what this kernel can do, which
 * `criu lazy-pages` would else find out inside the downtime. Throws `unavailable`.
 */
export async function requireLazyPages(criu: string): Promise<CriuVersion> {
  const looked = await lookOf(criu);
  if (looked !== undefined && found?.looked === looked) return found.version;
  const [version, usable] = await Promise.all([readCriuVersion(criu), hasUserfaultfd(criu)]);
  if (!usable)
    throw new DmigrateError("unavailable", `this node cannot serve lazy pages: ${noUserfaultfd}; ${mendUserfaultfd}`);
  found = { looked: (await lookOf(criu)) ?? "", version };
  return version;
}

/** The last that could: to ask takes two processes, and it stays true as long as its files are the same. */
let found: { looked: string; version: CriuVersion } | undefined;
/** Where CRIU notes what this kernel can do. */
const kernelNote = "/run/criu.kdat";

/** What the files are that the answer depends on; undefined when one is missing. */
async function lookOf(criu: string): Promise<string | undefined> {
  const directories = criu.includes("/") ? [""] : (process.env["PATH"] ?? "").split(":");
  const idOf = async (path: string): Promise<string> => {
    const { dev, ino, size, mtimeMs } = await stat(path);
    return [path, dev, ino, size, mtimeMs].join(" ");
  };
  const programs = await Promise.all(directories.map((path) => idOf(join(path, criu)).catch(() => undefined)));
  const program = programs.find((id) => id !== undefined);
  const note = await stat(kernelNote).catch(() => undefined);
  return program === undefined || note === undefined ? undefined : program;
}

const noUserfaultfd = "criu check --feature uffd-noncoop fails";
const mendUserfaultfd = "run a kernel with CONFIG_USERFAULTFD, and the pager as root";

async function hasUserfaultfd(criu: string): Promise<boolean> {
  const { exitCode } = await run(criu, ["check", "--feature", "uffd-noncoop"], { timeoutMs: 5_000 });
  return exitCode === 0;
}

/** Readiness of the pager: a CRIU that is new enough, and a kernel whose userfaultfd reports fork, remap and unmap. */
export async function checkCriu(criu: string): Promise<Check[]> {
  const fix = `install CRIU ${oldest.major}.${oldest.minor} or later`;
  let version: CriuVersion;
  try {
    version = await readCriuVersion(criu);
  } catch (error) {
    return [{ name: "criu", ok: false, detail: messageOf(error), fix }];
  }
  const isNew = isAtLeast(version, oldest);
  const detail = `CRIU ${version.major}.${version.minor} on kernel ${release()}`;
  const checks: Check[] = [{ name: "criu", ok: isNew, detail, ...(!isNew && { fix }) }];
  const usable = await hasUserfaultfd(criu);
  checks.push(
    usable
      ? { name: "userfaultfd", ok: true, detail: "the kernel reports fork, remap and unmap" }
      : { name: "userfaultfd", ok: false, detail: noUserfaultfd, fix: mendUserfaultfd },
  );
  return checks;
}
