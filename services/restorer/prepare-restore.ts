/**
 * Use case: make the container and start it, as far as the runtime wrapper, where it waits for its memory. The source
 * runs meanwhile. Each step is in the journal before it is taken, so that rollBack() can undo what there is of it.
 */
import { mkdir, readFile, realpath, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { ContainerSpec } from "../shared/contracts/container.ts";
import type { CreateRestore, LogRoom } from "../shared/contracts/restorer.ts";
import { isUnified } from "../shared/adapters/cgroup.ts";
import { reach } from "../shared/adapters/milestone.ts";
import { layerAt, noteLayer } from "../shared/adapters/overlay-layer.ts";
import { expedited } from "../shared/adapters/rcu.ts";
import { runtimeName } from "../shared/adapters/resources.ts";
import { asDmigrateError, DmigrateError, messageOf } from "../shared/errors.ts";
import { emptyDirectory, migrationPaths, restoreSpecDir } from "../shared/node-paths.ts";
import { withSpan } from "../shared/telemetry.ts";
import { within, type Engine } from "./adapters/engine.ts";
import { makeBindDirectory } from "./adapters/bind-directories.ts";
import { makeSpecDir, openGate, type Gate } from "./adapters/gate.ts";
import { makeLogRoom } from "./adapters/log-room.ts";
import { attachNetwork, holdNamespace, type HeldNamespace } from "./adapters/network.ts";
import { checkRestore } from "./check-restore.ts";
import {
  criuRestoreConfig,
  mendBundleConfig,
  networkHook,
  networkSysctls,
  settingsOf,
  parseBundleConfig,
  type BundleConfig,
  rootOf,
  type NetworkHook,
} from "./core/bundle-config.ts";
import { runtimeFailure } from "./core/failure-text.ts";
import { cgroupRootOf } from "./core/cgroup-root.ts";
import { containerBody } from "./core/container-body.ts";
import { heldNameEnd } from "./core/record.ts";
import { advance, note, type RestorerDeps, type Session } from "./session.ts";

/** Resolves once the wrapper waits. Throws, with everything still in place for rollBack(), when it cannot get there. */
export async function prepareRestore(deps: RestorerDeps, session: Session, request: CreateRestore): Promise<void> {
  const started = performance.now();
  const { container, replaces } = request;
  const { engine } = deps;
  await refuseOrGoOn(engine, request);
  const image = await resolveImage(engine, container);
  stopIfCancelled(session);
  await makeVolumes(deps, session, container);
  for (const path of request.moveBinds)
    await makeBindDirectory(path, (filled) =>
      note(deps, session, { filledBinds: [...session.record.filledBinds, filled] }),
    );
  await moveLeftover(deps, session, container.name, replaces);
  stopIfCancelled(session);
  const body = containerBody(container, image, runtimeName);
  note(deps, session, { creating: true });
  const containerId = await withSpan("docker create", {}, () => engine.createContainer(container.name, body));
  note(deps, session, { containerId });
  stopIfCancelled(session);
  const keepNote = (rcuBefore: string | undefined): void => {
    if (rcuBefore !== undefined) note(deps, session, { rcuBefore });
  };
  // Docker makes a network and mounts, each of which waits for RCU.
  await expedited(deps.rcu, keepNote, () =>
    withSpan("docker start, as far as runc", {}, () => warmStart(deps, session, containerId, request.log)),
  );
  advance(deps, session, "wrapper-waits", { prepareMs: performance.now() - started });
}

function stopIfCancelled({ cancelled, record }: Session): void {
  if (cancelled.signal.aborted)
    throw new DmigrateError("cancelled", `restore ${record.migrationId} was rolled back while it was prepared`);
}

async function refuseOrGoOn(engine: Engine, request: CreateRestore): Promise<void> {
  const { imagePresent, refusals } = await checkRestore(engine, request);
  const { container } = request;
  if (!imagePresent) {
    const message = `image ${container.imageRef} (${container.imageId}) is not on the destination`;
    refusals.push({ code: "no-image", message });
  }
  if (refusals.length > 0) {
    const text = refusals.map(({ message }) => message).join("; ");
    throw new DmigrateError("not-migratable", `the destination cannot take container ${container.name}: ${text}`, {
      reasons: refusals,
    });
  }
}

/** The reference when it means the same image here, so that `docker ps` shows the same; else the id. */
async function resolveImage(engine: Engine, { imageId, imageRef }: ContainerSpec): Promise<string> {
  // A reference by digest cannot be given to an image; one that is an id already names itself.
  if (imageRef === "" || imageRef.includes("@") || imageId.includes(imageRef)) return imageId;
  const present = await engine.imageId(imageRef);
  if (present === undefined) await engine.tagImage(imageId, imageRef);
  return present === undefined || present === imageId ? imageRef : imageId;
}

async function makeVolumes(deps: RestorerDeps, session: Session, { volumes }: ContainerSpec): Promise<void> {
  for (const volume of volumes) {
    const present = await deps.engine.volume(volume.name);
    if (present !== undefined) {
      // What comes into it goes again with a roll back, unless it may be somebody else's by then; with data in it, it is a
      // leftover's, which is written over.
      if (present.empty && !(await isUsed(deps.engine, volume.name)))
        note(deps, session, { filledBinds: [...session.record.filledBinds, { path: present.path }] });
      continue;
    }
    note(deps, session, { createdVolumes: [...session.record.createdVolumes, volume.name] });
    await deps.engine.createVolume(volume);
  }
}

const isUsed = async (engine: Engine, volume: string): Promise<boolean> =>
  (await engine.containers()).some(({ volumes }) => volumes.includes(volume));

async function moveLeftover(
  deps: RestorerDeps,
  session: Session,
  name: string,
  replaces: string | undefined,
): Promise<void> {
  if (replaces === undefined) return;
  const leftover = await deps.engine.container(replaces);
  if (leftover?.name !== name) return; // Removed or renamed by its owner: it is in nobody's way.
  const heldName = `${name.slice(0, 200)}${heldNameEnd(session.record.migrationId)}`;
  note(deps, session, { replaced: { id: replaces, heldName } });
  await deps.engine.renameContainer(replaces, heldName);
}

async function warmStart(
  deps: RestorerDeps,
  session: Session,
  containerId: string,
  logRoom: LogRoom | undefined,
): Promise<void> {
  const dir = restoreSpecDir(deps.stateDir, containerId);
  // All of Docker that is asked for later too: what the start comes to must be met as soon as it is under way.
  const [{ layer, log }, attachesByHook] = await Promise.all([
    deps.engine.places(containerId),
    deps.engine.attachesByHook(),
    makeSpecDir(dir),
  ]);
  if (layer !== undefined) await noteLayer(deps.stateDir, containerId, layer);
  if (logRoom !== undefined && log !== undefined) await makeLogRoom(deps.stateDir, containerId, log, logRoom);
  const gate = openGate(dir);
  session.gate = gate;
  // Docker keeps this call open until the container is restored, and the container locked: `docker inspect` of it waits too.
  session.started = deps.engine.startContainer(containerId).then(
    () => ({ ok: true as const }),
    (error: unknown) => ({ ok: false as const, error: asDmigrateError(error, "upstream", "docker start") }),
  );
  const endedEarly = session.started.then((outcome) => {
    const why = outcome.ok ? "the container was started cold" : runtimeFailure(messageOf(outcome.error));
    throw new DmigrateError("restore-failed", `docker start did not wait for the checkpoint: ${why}`);
  });
  const { warmStartMs } = deps.limits;
  // The signal ends what the race leaves behind.
  const signal = AbortSignal.any([session.cancelled.signal, AbortSignal.timeout(warmStartMs)]);
  const namespace = attachesByHook ? holdNamespace(warmStartMs) : undefined;
  const readying = { deps, session, gate, signal, dir, layerKnown: layer !== undefined, namespace };
  try {
    await Promise.race([
      within(warmStartMs, readyRunc(readying), "docker start did not get as far as runc"),
      endedEarly,
    ]);
  } finally {
    await namespace?.end();
  }
}

interface Readying {
  deps: RestorerDeps;
  session: Session;
  gate: Gate;
  signal: AbortSignal;
  dir: string;
  layerKnown: boolean;
  /** Made while Docker works, where its network is to be attached to it. */
  namespace: HeldNamespace | undefined;
}

/** Waits for the wrapper's call, mends its bundle, and sees runc as far as it gets without the checkpoint. */
async function readyRunc(readying: Readying): Promise<void> {
  const { deps, session, gate, signal, dir, layerKnown } = readying;
  const { wrapper, bundle } = await withSpan("docker start, as far as the wrapper", {}, () => gate.request(signal));
  const { workDir, mountedMark } = migrationPaths(deps.stateDir, session.record.migrationId);
  await mkdir(workDir, { recursive: true, mode: 0o700 });
  const file = join(bundle, "config.json");
  const config = parseBundleConfig(await readFile(file, "utf8"));
  const { containerId = "" } = session.record;
  // Docker has mounted it by now: the shipper may write to it while the rest is made ready.
  if (!layerKnown) await noteLayer(deps.stateDir, containerId, await layerAt(await realpath(rootOf(config, bundle))));
  reach(mountedMark, containerId);
  const hook = networkHook(config);
  const sysctls = networkSysctls(config);
  const mode =
    hook === undefined
      ? { restoreHook: restoreHook(wrapper, dir, sysctls) }
      : { networkPath: await attach(readying, bundle, hook, sysctls) };
  session.networkReady = hook !== undefined;
  const criuConfig = join(dir, "criu.conf");
  const settings = criuRestoreConfig(emptyDirectory(deps.stateDir), await cgroupRootIn(config));
  await writeFile(criuConfig, settings, { mode: 0o600 });
  await writeFile(`${file}.dmigrate`, mendBundleConfig(config, mode, criuConfig));
  await rename(`${file}.dmigrate`, file);
  gate.answer(session.networkReady ? "plain" : "hook", workDir);
  await withSpan("runc gets ready", {}, () => gate.runcReady(signal));
}

/** Undefined where control groups are of version 1, or runc chooses where. */
async function cgroupRootIn({ linux: { cgroupsPath } }: BundleConfig): Promise<string | undefined> {
  if (cgroupsPath == null || !(await isUnified())) return undefined;
  return cgroupRootOf(cgroupsPath);
}

const restoreHook = (wrapper: string, dir: string, sysctls: ReadonlyMap<string, string>) => ({
  path: wrapper,
  args: [wrapper, "dmigrate-hook", dir, ...[...sysctls].map(([name, value]) => `${name}=${value}`)],
});

async function attach(
  { deps, session, namespace: held }: Readying,
  bundle: string,
  hook: NetworkHook,
  sysctls: ReadonlyMap<string, string>,
): Promise<string> {
  const { containerId = "" } = session.record;
  const timeoutMs = deps.limits.warmStartMs;
  const namespace = held ?? holdNamespace(timeoutMs);
  try {
    const options = { containerId, bundle, hook, namespace, settings: settingsOf(sysctls), timeoutMs };
    return await withSpan("attach network", {}, () => attachNetwork(options));
  } finally {
    await namespace.end();
  }
}
