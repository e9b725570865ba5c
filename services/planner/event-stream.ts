/**
 * A migration's events as Server-Sent Events. The stream pulls: it reads the store only when the client has taken what
 * was sent before, so a slow client costs one batch of memory, and misses only progress that is out of date. It ends
 * with the migration, with the client, or with the planner.
 */
import type { MigrationEvent } from "../shared/contracts/planner.ts";
import type { MigrationTable } from "./adapters/migration-table.ts";
import { isTerminal } from "./core/phase.ts";
import type { Watch } from "./watch.ts";

export interface EventStreamDeps {
  table: Pick<MigrationTable, "events" | "get">;
  watch: Watch;
  /** Aborts when the planner ends. */
  stopped: AbortSignal;
}

const batch = 64;
/** A comment is sent this often, so that proxies keep the connection and a lost client is noticed. */
const heartbeatMs = 15_000;

export interface EventRange {
  afterSeq: number;
  /** Whether to go on with those to come, as they happen. */
  follow: boolean;
}

/** Events of `id` in the range. */
export function streamEvents(
  deps: EventStreamDeps,
  id: string,
  { afterSeq, follow }: EventRange,
): ReadableStream<Uint8Array> {
  const { table, watch } = deps;
  const gone = new AbortController();
  const ended = AbortSignal.any([gone.signal, deps.stopped]);
  const isOver = (): boolean => ended.aborted;
  const encoder = new TextEncoder();
  let last = afterSeq;
  return new ReadableStream<Uint8Array>(
    {
      pull: async (controller) => {
        let events = isOver() ? [] : table.events(id, last, batch);
        if (events.length === 0 && follow) {
          // A client may come back that has had the last one already.
          if (hasEnded(table, id)) {
            controller.close();
            return;
          }
          await watch.wait(id, heartbeatMs, ended);
          if (!isOver()) events = table.events(id, last, batch);
        }
        if (gone.signal.aborted) return;
        if (isOver() || (events.length === 0 && !follow)) {
          controller.close();
          return;
        }
        controller.enqueue(encoder.encode(events.length === 0 ? ": still here\n\n" : events.map(render).join("")));
        const newest = events.at(-1);
        if (newest === undefined) return;
        last = newest.seq;
        if (isTerminal(newest.phase) && newest.type === "phase") controller.close();
      },
      cancel: () => gone.abort(),
    },
    { highWaterMark: 0 },
  );
}

function hasEnded(table: EventStreamDeps["table"], id: string): boolean {
  const record = table.get(id);
  return record !== undefined && isTerminal(record.migration.phase);
}

const render = (event: MigrationEvent): string =>
  `event: ${event.type}\nid: ${event.seq}\ndata: ${JSON.stringify(event)}\n\n`;
