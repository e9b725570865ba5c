/** Brings up the one lab that serves all lab tests of a vitest run, and takes it down after them. */
import type { TestProject } from "vitest/node";

import "./connect.ts";
import { startLab } from "./lab.ts";

/** Called by vitest before the first lab test; what it returns is called after the last. */
export async function setup(project: TestProject): Promise<() => Promise<void>> {
  const lab = await startLab();
  project.provide("lab", lab.facts);
  return () => lab.stop();
}
