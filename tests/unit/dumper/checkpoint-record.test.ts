import { describe, expect, it } from "vitest";
import {
  isEnded,
  nextState,
  toCheckpoint,
  WrongState,
  type CheckpointEvent,
  type CheckpointRecord,
} from "../../../services/dumper/core/checkpoint-record.ts";
import { checkpointSchema, checkpointStateSchema } from "../../../services/shared/contracts/dumper.ts";

const record: CheckpointRecord = {
  migrationId: "m-0123456789abcdef",
  containerId: "ab".repeat(32),
  state: "frozen",
  freezer: { version: 1, dir: "/sys/fs/cgroup/freezer/docker/x" },
  initPid: 42,
  restartPolicy: { Name: "always", MaximumRetryCount: 0 },
  processes: [{ pid: 1, hostPid: 42 }],
  frozenAt: 1_700_000_000_000,
};
const events: CheckpointEvent[] = ["freeze", "dump", "dumped", "seal", "commit", "abort"];

describe("checkpoint states", () => {
  it("goes from ready to committed", () => {
    const states: CheckpointRecord["state"][] = ["ready"];
    for (const event of ["freeze", "dump", "dumped", "seal", "commit"] as const) {
      states.push(nextState({ ...record, state: states.at(-1) ?? "ready" }, event));
    }
    expect(states).toEqual(["ready", "frozen", "dumping", "dumped", "sealed", "committed"]);
  });

  it("commits only what is sealed: before, the destination has nothing that is sure to be complete", () => {
    for (const state of ["ready", "frozen", "dumping", "dumped", "aborted", "committed"] as const) {
      expect(() => nextState({ ...record, state }, "commit")).toThrow(WrongState);
    }
  });

  it("aborts everything that has not ended", () => {
    for (const state of checkpointStateSchema.options) {
      if (isEnded(state)) expect(() => nextState({ ...record, state }, "abort")).toThrow(WrongState);
      else expect(nextState({ ...record, state }, "abort")).toBe("aborted");
    }
  });

  it("leaves an end by nothing", () => {
    for (const state of ["committed", "aborted"] as const)
      for (const event of events)
        expect(() => nextState({ ...record, state }, event)).toThrow(/is (committed|aborted)/);
  });
});

describe("checkpoint as the contract shows it", () => {
  it("counts the frozen time until now, or until the end", () => {
    const now = record.frozenAt + 250;
    expect(toCheckpoint(record, "/i", now).frozenForMs).toBe(250);
    expect(toCheckpoint({ ...record, endedAt: record.frozenAt + 40 }, "/i", now).frozenForMs).toBe(40);
    expect(toCheckpoint(record, "/i", record.frozenAt - 5).frozenForMs).toBe(0);
    expect(toCheckpoint({ ...record, state: "ready" }, "/i", now).frozenForMs).toBe(0);
  });

  it("satisfies the contract and keeps the node's own details to itself", () => {
    const shown = toCheckpoint(record, "/i", record.frozenAt);
    expect(checkpointSchema.parse(shown)).toEqual(shown);
    expect(shown).not.toHaveProperty("freezer");
    expect(shown).not.toHaveProperty("initPid");
  });
});
