/** Sends memory while the container runs. */
import type { ContainerProfile } from "../shared/contracts/container.ts";
import { pagerSchema, type Pager } from "../shared/contracts/pager.ts";
import { precopySchema } from "../shared/contracts/shipper.ts";
import { createMeeting } from "./meeting.ts";
import { pause, throwIfCancelled, type Run } from "./run.ts";
import { moveTimeoutMs } from "./timing.ts";

/** Nothing came for so long: nothing more will, whatever the pager says. */
const stillMs = 3_000;

/**
 * Sends memory once: pages that change meanwhile are sent again after the freeze. Ends when the pager has been told of all
 * pages and has those that it has room for; those that have gone meanwhile do not come.
 */
export async function precopy(run: Run, profile: ContainerProfile): Promise<void> {
  const { id, journal, source, destination, clock, timing } = run;
  const { pagesAnnounced } = await source.shipper.post(`/transfers/${id}/precopy`, undefined, precopySchema, {
    timeoutMs: timing.moveMs,
    signal: run.cancelled,
  });
  const deadline = clock.now() + moveTimeoutMs(timing, profile.memoryBytes);
  const meeting = createMeeting(run);
  let seen: Pager | undefined;
  let movedAt = clock.now();
  for (;;) {
    const pager = await destination.pager.get(`/pagers/${id}`, pagerSchema, { timeoutMs: timing.callMs });
    const now = clock.now();
    if (pager.pagesHeld !== seen?.pagesHeld || pager.pagesAnnounced !== seen.pagesAnnounced) movedAt = now;
    seen = pager;
    journal.progress(`${pager.pagesHeld} of ${pagesAnnounced} pages were sent ahead`, {});
    const isThere = pager.pagesAnnounced >= pagesAnnounced && pager.pagesAwaited === 0;
    if (isThere || now - movedAt > stillMs || now > deadline || pager.state === "failed") break;
    meeting.look(pager.bytesReceived);
    await pause(run, timing.pollMs);
    throwIfCancelled(run);
  }
  meeting.end();
}
