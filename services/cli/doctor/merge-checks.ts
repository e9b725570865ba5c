/** The services of a node ask some of the same questions: each is shown once, and as failed if anyone says so. */
import type { Check } from "../../shared/contracts/common.ts";

export function mergeChecks(checks: readonly Check[]): Check[] {
  const byName = new Map<string, Check>();
  for (const check of checks) {
    const earlier = byName.get(check.name);
    if (earlier === undefined || (earlier.ok && !check.ok)) byName.set(check.name, check);
  }
  return [...byName.values()];
}
