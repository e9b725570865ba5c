import fc from "fast-check";
import { expect, test } from "vitest";
import { isCancellable, isTerminal, transition, type Step } from "../../../services/planner/core/phase.ts";
import { migrationPhaseSchema, type MigrationPhase } from "../../../services/shared/contracts/planner.ts";

const phases = migrationPhaseSchema.options;
const steps: Step[] = [
  "refused",
  "planned",
  "prepared",
  "frozen",
  "resume-recorded",
  "resumed",
  "drained",
  "committed",
  "gave-up",
  "destination-ruled-out",
  "rolled-back",
  "lost",
];
const terminal: MigrationPhase[] = ["committed", "aborted", "refused", "failed"];

/** Every phase that some steps lead to from here. */
function reachable(from: MigrationPhase, allowed: readonly Step[] = steps): Set<MigrationPhase> {
  const found = new Set<MigrationPhase>([from]);
  for (const phase of found) {
    for (const step of allowed) {
      const next = transition(phase, step);
      if (next !== undefined) found.add(next);
    }
  }
  return found;
}

/** The phases that a random walk goes through, with the steps that were allowed. */
const walks = fc.array(fc.constantFrom(...steps), { maxLength: 60 }).map((tried) => {
  const taken: { step: Step; phase: MigrationPhase }[] = [];
  let phase: MigrationPhase = "planning";
  for (const step of tried) {
    const next = transition(phase, step);
    if (next === undefined) continue;
    phase = next;
    taken.push({ step, phase });
  }
  return taken;
});

test("the way of a migration that goes well", () => {
  let phase: MigrationPhase | undefined = "planning";
  for (const step of ["planned", "prepared", "frozen", "resume-recorded", "resumed", "drained", "committed"] as const)
    phase = phase && transition(phase, step);
  expect(phase).toBe("committed");
});

test("terminal phases are terminal, and the others are not", () => {
  for (const phase of phases) {
    expect(isTerminal(phase)).toBe(terminal.includes(phase));
    if (isTerminal(phase)) expect([...reachable(phase)]).toEqual([phase]);
  }
});

test("every phase has a way to end", () => {
  for (const phase of phases) expect([...reachable(phase)].some((end) => terminal.includes(end))).toBe(true);
});

test("every phase can be reached", () => {
  expect([...reachable("planning")].toSorted()).toEqual([...phases].toSorted());
});

test("nothing leads from a container that runs at the destination back to the source", () => {
  for (const phase of ["draining", "committing", "committed", "failed"] as const) {
    const after = reachable(phase);
    expect(after.has("aborting")).toBe(false);
    expect(after.has("aborted")).toBe(false);
  }
});

test("on any walk, a roll back after the commit point comes only with the destination ruled out", () => {
  fc.assert(
    fc.property(walks, (walk) => {
      const recorded = walk.findIndex(({ step }) => step === "resume-recorded");
      const aborting = walk.findIndex(({ phase }) => phase === "aborting");
      if (recorded < 0 || aborting < 0) return;
      expect(aborting).toBe(recorded + 1);
      expect(walk[aborting]?.step).toBe("destination-ruled-out");
    }),
  );
});

test("on any walk, the destination resumes only after the commit point, and then there is no roll back", () => {
  fc.assert(
    fc.property(walks, (walk) => {
      const resumed = walk.findIndex(({ step }) => step === "resumed");
      if (resumed < 0) return;
      expect(walk[resumed - 1]?.step).toBe("resume-recorded");
      expect(walk.slice(resumed).some(({ phase }) => phase === "aborting" || phase === "aborted")).toBe(false);
    }),
  );
});

test("a cancel is honoured up to the commit point", () => {
  const honoured = phases.filter(isCancellable);
  expect(honoured).toEqual(["planning", "preparing", "freezing", "dumping"]);
});
