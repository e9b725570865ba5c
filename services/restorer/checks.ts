/** What the restorer needs of its node, each with what to do when it is missing. */
import { constants } from "node:fs";
import { access, mkdir, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Check } from "../shared/contracts/common.ts";
import { messageOf } from "../shared/errors.ts";
import { run } from "../shared/adapters/run.ts";
import type { Engine } from "./adapters/engine.ts";
import { makeSpecDir } from "./adapters/gate.ts";

/** The state directory that deploy/dmigrate-runc looks into. */
export const wrapperStateDir = "/run/dmigrate";

export async function checkNode(engine: Engine, stateDir: string): Promise<Check[]> {
  return [...(await checkDocker(engine)), await checkStateDir(stateDir), await checkCriu()];
}

async function checkDocker(engine: Engine): Promise<Check[]> {
  try {
    const { version, runtimePath } = await engine.info();
    return [{ name: "docker", ok: true, detail: `Docker ${version}` }, await checkRuntime(runtimePath)];
  } catch (error) {
    const fix = "start dockerd, or set DMIGRATE_DOCKER_SOCKET to its socket";
    return [{ name: "docker", ok: false, detail: messageOf(error), fix }];
  }
}

async function checkRuntime(path: string | undefined): Promise<Check> {
  const name = "dmigrate runtime";
  if (path === undefined) {
    const fix =
      'add "runtimes": {"dmigrate": {"path": "/usr/local/bin/dmigrate-runc"}} to daemon.json, and reload dockerd';
    return { name, ok: false, detail: "Docker does not know the runtime dmigrate", fix };
  }
  try {
    await access(path, constants.X_OK);
    return { name, ok: true, detail: path };
  } catch {
    return {
      name,
      ok: false,
      detail: `${path} cannot be run`,
      fix: `install deploy/dmigrate-runc as ${path}, mode 755`,
    };
  }
}

async function checkStateDir(stateDir: string): Promise<Check> {
  const name = "state directory";
  if (stateDir !== wrapperStateDir) {
    const detail = `${stateDir}, but the runtime wrapper looks into ${wrapperStateDir}`;
    return { name, ok: false, detail, fix: `leave DMIGRATE_STATE_DIR at ${wrapperStateDir}` };
  }
  try {
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    const dir = await mkdtemp(join(stateDir, "check-"));
    try {
      await makeSpecDir(dir);
    } finally {
      await rm(dir, { recursive: true, force: true });
    }
    return { name, ok: true, detail: stateDir };
  } catch (error) {
    return { name, ok: false, detail: messageOf(error), fix: `let root make files and FIFOs in ${stateDir}` };
  }
}

async function checkCriu(): Promise<Check> {
  const fix = "install CRIU 4.2 or newer";
  try {
    const { stdout } = await run("criu", ["--version"], { timeoutMs: 5_000 });
    const version = /Version:\s*(\d+)\.(\d+)\S*/.exec(stdout);
    const ok = Number(version?.[1]) * 100 + Number(version?.[2]) >= 402;
    return { name: "criu", ok, detail: version?.[0] ?? stdout.trim(), ...(!ok && { fix }) };
  } catch (error) {
    return { name: "criu", ok: false, detail: messageOf(error), fix };
  }
}
