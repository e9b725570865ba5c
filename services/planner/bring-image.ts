/**
 * An image that the destination lacks comes there: sent by the source, or, where the plan says so, pulled from a registry, which has
 * a head start. After that both go on side by side, and the first to have the image there ends the other.
 *
 *     pull ─────────────────────┬─ there: the other is given up
 *       └ head start ── send ───┘
 */
import { imagePresenceSchema } from "../shared/contracts/restorer.ts";
import { messageOf } from "../shared/errors.ts";
import { pauseFor, type Run } from "./run.ts";

export interface BringImage {
  imageId: string;
  /** By which a registry has it; undefined when it is only sent. */
  pull: string | undefined;
  /** Sends it; rejects when `signal` aborts. */
  send: (signal: AbortSignal) => Promise<void>;
  /** Of either, milliseconds. */
  timeoutMs: number;
}

/** Resolves once the image is there. Throws why it could not be sent, or `signal`'s reason, once neither is under way. */
export async function bringImage(run: Run, image: BringImage, signal: AbortSignal): Promise<void> {
  const { pull } = image;
  if (pull === undefined) {
    await image.send(signal);
    return;
  }
  const enough = new AbortController();
  const either = AbortSignal.any([signal, enough.signal]);
  const pulled = pullThere(run, image, pull, either);
  const headStart = pauseFor(run.timing.pullHeadStartMs, either).then(() => false);
  if (await Promise.race([pulled, headStart])) {
    enough.abort();
    return;
  }
  let failure: unknown;
  const sent = image.send(either).then(
    () => true,
    (error: unknown) => {
      failure = error;
      return false;
    },
  );
  await firstTrue([pulled, sent]);
  enough.abort();
  const there = await Promise.all([pulled, sent]);
  if (!there.includes(true)) throw failure;
}

/** False when it failed, or was given up. */
async function pullThere(
  { journal, destination }: Run,
  { imageId, timeoutMs }: BringImage,
  ref: string,
  signal: AbortSignal,
): Promise<boolean> {
  journal.progress(`node ${destination.name} pulls ${ref}`, {});
  try {
    await destination.restorer.post(`/images/${imageId}/pull`, { ref }, imagePresenceSchema, { timeoutMs, signal });
    journal.progress(`node ${destination.name} has pulled ${ref}`, {});
    return true;
  } catch (error) {
    if (!signal.aborted)
      journal.warn(`node ${destination.name} could not pull ${ref}, so it is sent: ${messageOf(error)}`);
    return false;
  }
}

/** Resolves at the first true, or when all are false. */
async function firstTrue(tasks: readonly Promise<boolean>[]): Promise<void> {
  const found = tasks.map(async (task) => {
    if (!(await task)) throw new Error("not this one");
  });
  await Promise.any(found).catch(() => undefined);
}
