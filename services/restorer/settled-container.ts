/**
 * What has become of a container that was resumed. Docker hears of an end last: a process gives its memory back before its
 * parent is told, and Docker is told by others. So one that Docker takes for running must be seen to live.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { hasMemory } from "../shared/adapters/processes.ts";
import type { RestoredContainer } from "../shared/contracts/restorer.ts";
import { DmigrateError } from "../shared/errors.ts";
import type { Engine } from "./adapters/engine.ts";

const pauseMs = 50;
/** Memory of many gigabytes takes the kernel a while to take back. */
const mostMs = 15_000;

/** `resumedAt`: epoch milliseconds. Throws `timeout` when Docker does not notice its end. */
export async function settledContainer(
  engine: Pick<Engine, "container" | "endOf">,
  containerId: string,
  resumedAt: number,
  isAlive: (hostPid: number) => boolean = hasMemory,
): Promise<RestoredContainer> {
  const deadline = performance.now() + mostMs;
  for (;;) {
    const found = await engine.container(containerId);
    if (found?.running !== true) {
      const end = await engine.endOf(containerId, resumedAt);
      // With --rm it is gone; then the events alone know how it ended.
      const { exitCode = end.exitCode ?? -1, oomKilled = false } = found ?? {};
      return { running: false, stopped: end.stopped, exitCode, oomKilled };
    }
    if (isAlive(found.pid)) return { running: true, stopped: false, exitCode: 0, oomKilled: false };
    if (performance.now() > deadline)
      throw new DmigrateError("timeout", `Docker does not notice that container ${found.name} has ended`);
    await sleep(pauseMs);
  }
}
