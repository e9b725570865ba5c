/** The dump of a frozen container: CRIU's images of everything but the memory. After a failure the caller must abort. */
import { reach } from "../shared/adapters/milestone.ts";
import { expedited } from "../shared/adapters/rcu.ts";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import { withSpan } from "../shared/telemetry.ts";
import { lookAside, writeMemoryImages } from "./adapters/memory-writer.ts";
import { note, type CheckpointDeps, type HeldCheckpoint } from "./checkpoint.ts";
import { nextState } from "./core/checkpoint-record.ts";

/** Shared memory and tmpfs go into the images at disk speed, so a dump may be long; but never for ever. */
const dumpTimeoutMs = 600_000;

/** Resolves once the images are complete. A second call for a dumped container answers at once. */
export async function dumpContainer(deps: CheckpointDeps, held: HeldCheckpoint): Promise<void> {
  if (held.record.state === "dumped" || held.record.state === "sealed") return;
  const state = nextState(held.record, "dump");
  const begin = (rcuBefore: string | undefined): void =>
    note(deps, held, { state, ...(rcuBefore !== undefined && { rcuBefore }) });
  const started = performance.now();
  await expedited(deps.rcu, begin, () => dump(held));
  const dumpMs = performance.now() - started;
  note(deps, held, {
    state: nextState(held.record, "dumped"),
    dumpMs,
  });
}

async function dump(held: HeldCheckpoint): Promise<void> {
  const { prepared, guardian } = held;
  if (prepared === undefined)
    throw new DmigrateError("conflict", "the dumper was started anew since the freeze; abort this checkpoint");
  const { criu } = prepared;
  guardian?.dumping(criu.group);
  criu.ended.then(
    () => guardian?.dumped(),
    () => undefined, // the guardian goes on knowing the group
  );
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new DmigrateError("timeout", `CRIU did not dump the container within ${dumpTimeoutMs / 1000} s`)),
      dumpTimeoutMs,
    );
  });
  const hidden = held.record.processes.filter(({ hostPid }) => criu.hidden.has(hostPid));
  const dumped = withSpan("criu dump", {}, () => Promise.race([prepared.dump(), late]));
  const known = Promise.all(hidden.map(async (process) => ({ process, pages: await lookAside(process) })));
  try {
    await dumped;
  } finally {
    clearTimeout(timer);
  }
  await withSpan("memory images", {}, async () => {
    await mustBeFrozen(held);
    for (const { process, pages } of await known) writeMemoryImages(held.paths.imagesDir, process, pages);
  });
}

/**
 * From here on the container stays frozen whatever happens to this process. Waits until CRIU is gone; should the
 * freezer not hold the container then, it has run on after the dump; as after any failure, the caller must abort.
 */
export async function sealCheckpoint(deps: CheckpointDeps, held: HeldCheckpoint): Promise<void> {
  if (held.record.state === "sealed") return;
  const state = nextState(held.record, "seal");
  try {
    await held.prepared?.criu.ended;
    await mustBeFrozen(held);
  } catch (error) {
    throw new DmigrateError(
      "checkpoint-failed",
      `the container ran on after its dump (${messageOf(error)}), so its images are worthless; migrate it again`,
      { cause: error },
    );
  }
  note(deps, held, { state });
  held.guardian?.seal();
  reach(held.paths.sealedMark);
}

async function mustBeFrozen({ freezer }: HeldCheckpoint): Promise<void> {
  const state = freezer.exists() ? freezer.state() : "thawed";
  if (state === "thawed") throw new DmigrateError("internal", "the control group is thawed; was CRIU killed?");
  // CRIU's end may have left it still freezing.
  if (state === "freezing") await freezer.freeze({ timeoutMs: 5000 });
}
