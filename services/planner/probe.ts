/** Measures the link that a migration is about to use, once its connections are open and before anything is sent. */
import type { Plan } from "../shared/contracts/planner.ts";
import { linkProbeSchema } from "../shared/contracts/shipper.ts";
import { DmigrateError } from "../shared/errors.ts";
import { leastProbedBytes } from "./core/link-speed.ts";
import type { Inspection } from "./inspect.ts";
import type { Run } from "./run.ts";

/** Less is not kept waiting: what is measured while Docker works at the destination is near enough. */
const largeBytes = 256 << 20;

/** Whether the migration is to measure the link: its speed is not known, or not any more, and makes a difference. */
const isProbeDue = ({ links, source, destination }: Run, { expectedBytes }: Plan): boolean =>
  expectedBytes >= leastProbedBytes && links.isProbeDue(source.name, destination.name);

/** Whether all else waits for the measurement, so that nothing but the link is measured. */
export const isProbeFirst = (run: Run, plan: Plan): boolean =>
  plan.expectedBytes >= largeBytes && isProbeDue(run, plan);

/**
 * Answers the plan to go on with, which is the migration's from now on: made anew from what was measured, or as it was
 * when the speed is known already. A probe that fails rules nothing out. Throws what aborted `signal`.
 */
export async function probe(run: Run, { plan, planAnew }: Inspection, signal: AbortSignal): Promise<Plan> {
  const { id, journal, source, destination, links, timing } = run;
  const [from, to] = [source.name, destination.name];
  if (!isProbeDue(run, plan)) return plan;
  try {
    const call = { timeoutMs: timing.callMs, signal };
    const { bytesPerSecond } = await source.shipper.post(`/transfers/${id}/probe`, undefined, linkProbeSchema, call);
    const measured = planAnew(plan, links.noteMeasured(from, to, bytesPerSecond));
    journal.progress(measured.reasons[0] ?? "", { plan: measured });
    return measured;
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof DmigrateError)) throw error;
    journal.warn(`the link from node ${from} to node ${to} was not measured: ${error.message}`);
    return plan;
  }
}
