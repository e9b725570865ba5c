/**
 * The life of a migration. Pure: `transition` says what comes next, others act on it.
 *
 *     planning ──planned──> preparing ──prepared──> freezing ──frozen──> dumping
 *        │ │                    │                      │                   │
 *        │ └──────gave-up───────┴──────────gave-up─────┴─────gave-up───────┤
 *        │refused                                                          │ resume-recorded   <── COMMIT POINT
 *        v                                                                 v
 *     refused                        aborting <──destination-ruled-out── resuming
 *                                       │                                  │ resumed
 *                                       │ rolled-back                      v
 *                                       v                               draining ──drained──> committing ──committed──> committed
 *                                    aborted                               │                      │
 *                                                                          └─────────lost─────────┴──> failed
 *
 * The commit point is `resume-recorded`: the moment at which `resuming` is durable, before the resume call is sent.
 * - Before it the destination cannot run, whatever happens to the planner: every failure rolls back.
 * - From it on the destination may run. `destination-ruled-out` leads back only once it is certain that the destination
 *   neither runs nor ever will (its restore was deleted there, the resume call was never sent, or by the operator's word its node
 *   is gone for good: the one certainty that is not our own).
 * - From `draining` on the source never runs again.
 * So whoever sees `aborting` may thaw the source at once.
 */
import type { MigrationPhase } from "../../shared/contracts/planner.ts";

export type Step =
  | "refused"
  | "planned"
  | "prepared"
  | "frozen"
  | "resume-recorded"
  | "resumed"
  | "drained"
  | "committed"
  | "gave-up"
  | "destination-ruled-out"
  | "rolled-back"
  | "lost";

const next: Readonly<Record<MigrationPhase, Partial<Record<Step, MigrationPhase>>>> = {
  planning: { planned: "preparing", refused: "refused", "gave-up": "aborting" },
  preparing: { prepared: "freezing", "gave-up": "aborting" },
  freezing: { frozen: "dumping", "gave-up": "aborting" },
  dumping: { "resume-recorded": "resuming", "gave-up": "aborting" },
  resuming: { resumed: "draining", "destination-ruled-out": "aborting" },
  draining: { drained: "committing", lost: "failed" },
  committing: { committed: "committed", lost: "failed" },
  aborting: { "rolled-back": "aborted" },
  committed: {},
  aborted: {},
  refused: {},
  failed: {},
};

/** The phase that `step` leads to, or undefined when it is not allowed in `phase`. */
export const transition = (phase: MigrationPhase, step: Step): MigrationPhase | undefined => next[phase][step];

/** True when nothing happens any more. */
export const isTerminal = (phase: MigrationPhase): boolean => Object.keys(next[phase]).length === 0;

/** True while a cancel is honoured: up to the commit point. */
export const isCancellable = (phase: MigrationPhase): boolean => next[phase]["gave-up"] !== undefined;
