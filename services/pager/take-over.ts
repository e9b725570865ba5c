/** What became of a page server whose agent has ended: it goes on, it has done its work, or it is lost. */
import { DmigrateError, messageOf } from "../shared/errors.ts";
import type { Log } from "../shared/log.ts";
import { readOutcome } from "./adapters/daemon-process.ts";
import type { PagerRecord } from "./core/pager-record.ts";
import { daemonLost, DaemonPageServer, type DaemonPageServerOptions } from "./daemon-page-server.ts";
import { noStats, type PageServer, type PageServerEvents, type PageServerStats } from "./page-server.ts";

/** Takes hold of the page server that an agent before this one has started in `workDir`. */
export async function takeOverServer(
  record: PagerRecord,
  workDir: string,
  log: Log,
  events: PageServerEvents,
): Promise<PageServer> {
  try {
    return await attach({ workDir, log, ...events });
  } catch (error) {
    const outcome = readOutcome(workDir);
    if (outcome !== undefined) {
      events.onDrained(outcome.drainMs);
      return settledServer(outcome.stats);
    }
    events.onFailure(
      isThere(error)
        ? new DmigrateError("timeout", `the page daemon of an earlier run does not answer: ${messageOf(error)}`)
        : daemonLost(
            `the agent of this node was restarted, and its page server did not outlive it (${messageOf(error)})`,
            record.serveMs !== undefined,
            false,
          ),
    );
    return settledServer(noStats);
  }
}

/** One that does not answer is there all the same, and processes may depend on it. */
const mostTries = 12;

async function attach(options: DaemonPageServerOptions): Promise<PageServer> {
  for (let tries = 1; ; tries++) {
    try {
      return await DaemonPageServer.attach(options);
    } catch (error) {
      if (!isThere(error) || tries === mostTries) throw error;
      options.log.warn({ tries }, "the page daemon does not answer; asking again");
    }
  }
}

const isThere = (error: unknown): boolean => error instanceof DmigrateError && error.code === "timeout";

/** A page server that is gone, whatever became of it. */
function settledServer(stats: PageServerStats): PageServer {
  return {
    stats,
    needed: false,
    serve: () => Promise.reject(new DmigrateError("conflict", "the page server of this migration is gone")),
    stop: () => Promise.resolve(true),
    leave: () => Promise.resolve(),
  };
}
