/** What the agent and its page daemon tell each other (channel.ts), and the daemon's last word. */
import { z } from "zod";
import { countSchema, millisSchema } from "../../shared/contracts/common.ts";
import type { Endpoint } from "../../shared/contracts/common.ts";
import type { ErrorCode } from "../../shared/errors.ts";
import type { PageServerStats, ProcessPages } from "../page-server.ts";

/** Where the daemon listens for agents that come after the one that started it; in `workDir`. */
export const agentSocketName = "agent.socket";
/** What the daemon leaves in `workDir` once nobody needs it any more, for an agent that was not there to be told. */
export const outcomeName = "drained.json";

export const outcomeSchema = z.object({
  drainMs: millisSchema,
  stats: z.object({
    pagesFaulted: countSchema,
    pagesPrefetched: countSchema,
    zeroPages: countSchema,
    faults: countSchema,
    faultLatencyMs: z.object({ p50: millisSchema, p99: millisSchema, max: millisSchema }),
    bytesReceived: countSchema,
    pagesHeld: countSchema,
    pagesAnnounced: countSchema,
    pagesAwaited: countSchema,
  }),
});
export type Outcome = z.infer<typeof outcomeSchema>;

export interface StartDaemon {
  migrationId: string;
  secret: string;
  source: Endpoint;
  /** CRIU's work directory; the socket is made there. */
  workDir: string;
  /** Of the source, each asked over a connection of its own. */
  readers: number;
  /** Most bytes asked for in the background and not yet there. */
  windowBytes: number;
  /** Most bytes of announced pages that may be here before their process. */
  earlyBytes: number;
  /** Fetch everything before the restore (stop-and-copy). */
  whole: boolean;
  /** How long a lost link may stay away. */
  reconnectMs: number;
}

export type ToDaemon =
  /** There is no migration yet: make ready for it (rehearsal.ts). */
  | { kind: "rehearse" }
  | { kind: "start"; options: StartDaemon }
  | { kind: "serve"; processes: readonly ProcessPages[] }
  /** The duplicate is closed. */
  | { kind: "letGone"; id: number }
  /** End, unless processes here may need pages and `force` is false. */
  | { kind: "stop"; force: boolean };

export type FromDaemon =
  /** To an agent that has connected anew; all else that it must know was sent before. */
  | { kind: "attached"; pid: number }
  /** As ready as can be. */
  | { kind: "rehearsed" }
  /** Linked to the source, and listening for CRIU. */
  | { kind: "ready" }
  /** The pages to serve are known. */
  | { kind: "serving" }
  /** Every page is here, before the restore: told when that was asked for. */
  | { kind: "cached" }
  | { kind: "stats"; stats: PageServerStats }
  /**
   * Hold a duplicate of this userfaultfd of the daemon's, so that nobody reads zeros should the daemon die; and hold it no
   * more, which is to be answered: until then the daemon goes on serving it.
   */
  | { kind: "hold"; id: number; fd: number }
  | { kind: "letGo"; id: number }
  /** Processes run here on pages that only the source has: from now on until `drained`. */
  | { kind: "needed" }
  | { kind: "link"; lost: string | undefined }
  | { kind: "drained"; drainMs: number; stats: PageServerStats }
  | { kind: "failed"; code: ErrorCode; message: string }
  /** Not stopped: processes still need it. */
  | { kind: "refused" };
