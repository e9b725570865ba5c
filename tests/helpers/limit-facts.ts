import type { LimitFacts } from "../../services/restorer/core/refuse-limits.ts";

/** A destination with four processors that holds a container to every limit. */
export const limitFacts: LimitFacts = {
  cpus: 4,
  cpuset: { cpus: "0-3\n", mems: "0\n" },
  lackingLimits: [],
  cgroupDriver: "cgroupfs",
  cgroupVersion: "1",
  absentDevices: [],
};
