/** The planner as the commands see it: where it is, its token, its calls, and a migration's events. */
import { readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { createParser } from "eventsource-parser";
import { HttpFailure } from "../shared/adapters/http-call.ts";
import { createClient, type ServiceClient } from "../shared/client.ts";
import { migrationEventSchema, type MigrationEvent } from "../shared/contracts/planner.ts";
import { DmigrateError, messageOf } from "../shared/errors.ts";

export const defaultPlanner = "http://127.0.0.1:7410";

export interface PlannerOptions {
  planner?: string;
  tokenFile?: string;
}

export interface PlannerClient {
  readonly api: ServiceClient;
  /** Events after `afterSeq`; with `follow` until the migration has ended, over restarts of the planner. */
  events(
    id: string,
    options: { afterSeq?: number; follow: boolean; signal: AbortSignal },
  ): AsyncIterable<MigrationEvent>;
}

/** Throws `invalid-request` for an address or a token file that cannot be used. */
export function connectPlanner(options: PlannerOptions, env: NodeJS.ProcessEnv): PlannerClient {
  const url = options.planner ?? env["DMIGRATE_PLANNER"] ?? defaultPlanner;
  if (!URL.canParse(url) || !/^https?:/.test(url))
    throw new DmigrateError("invalid-request", `the planner's address ${url} must be a URL such as ${defaultPlanner}`);
  const token = options.tokenFile === undefined ? env["DMIGRATE_TOKEN"] : readToken(options.tokenFile);
  const client = createClient("the planner", url, token);
  return {
    api: {
      url,
      get: (...call) => client.get(...call).catch(explain),
      post: (...call) => client.post(...call).catch(explain),
      put: (...call) => client.put(...call).catch(explain),
      delete: (...call) => client.delete(...call).catch(explain),
      close: () => client.close(),
    },
    events: (id, { afterSeq = 0, follow, signal }) => followEvents({ url, token, id, follow, signal }, afterSeq),
  };
}

/** A token from a file: without the line's end. */
export function readToken(path: string): string {
  try {
    const token = readFileSync(path, "utf8").trim();
    if (token !== "") return token;
  } catch (cause) {
    throw new DmigrateError("invalid-request", `the token file cannot be read: ${messageOf(cause)}`, { cause });
  }
  throw new DmigrateError("invalid-request", `the token file ${path} is empty`);
}

/** The shared client speaks as one service to another; here the token is the user's own. */
function explain(error: unknown): never {
  if (error instanceof DmigrateError && error.cause instanceof HttpFailure && error.cause.status === 401) {
    const message = "the planner refused the token; set DMIGRATE_TOKEN or --token-file to the planner's token";
    throw new DmigrateError("unauthorized", message, { cause: error });
  }
  if (error instanceof DmigrateError && error.code === "unavailable")
    throw new DmigrateError(
      "unavailable",
      `${error.message}; start it with "dmigrate planner", or set DMIGRATE_PLANNER`,
      {
        cause: error,
      },
    );
  throw error;
}

interface Stream {
  url: string;
  token: string | undefined;
  id: string;
  follow: boolean;
  signal: AbortSignal;
}

/** A planner that is being restarted is waited for this long. */
const patienceMs = 60_000;

async function* followEvents(stream: Stream, afterSeq: number): AsyncGenerator<MigrationEvent> {
  let last = afterSeq;
  let lostAt: number | undefined;
  for (;;) {
    try {
      for await (const event of readEvents(stream, last)) {
        lostAt = undefined;
        last = event.seq;
        yield event;
        if (isLast(event)) return;
      }
      if (!stream.follow) return;
    } catch (error) {
      if (stream.signal.aborted) throw new DmigrateError("cancelled", "interrupted", { cause: error });
      if (error instanceof DmigrateError) throw error;
      lostAt ??= performance.now();
      if (performance.now() - lostAt > patienceMs)
        throw new DmigrateError("unavailable", `the planner (${stream.url}) cannot be reached: ${messageOf(error)}`, {
          cause: error,
        });
    }
    await delay(300, undefined, { signal: stream.signal }).catch(() => undefined);
    if (stream.signal.aborted) throw new DmigrateError("cancelled", "interrupted");
  }
}

const isLast = ({ type, phase }: MigrationEvent): boolean =>
  type === "phase" && ["committed", "aborted", "refused", "failed"].includes(phase);

/** One connection's worth of events. A broken connection throws what fetch throws. */
async function* readEvents(
  { url, token, id, follow, signal }: Stream,
  afterSeq: number,
): AsyncGenerator<MigrationEvent> {
  const response = await fetch(`${url.replace(/\/$/, "")}/migrations/${id}/events?after=${afterSeq}&follow=${follow}`, {
    headers: token === undefined ? {} : { authorization: `Bearer ${token}` },
    signal,
  });
  if (!response.ok || response.body === null) {
    const body: unknown = await response.json().catch(() => undefined);
    const detail =
      typeof body === "object" && body !== null && "detail" in body ? String(body.detail) : `status ${response.status}`;
    const code = response.status === 404 ? "not-found" : response.status === 401 ? "unauthorized" : "upstream";
    throw new DmigrateError(code, `the planner: ${detail}`);
  }
  const events: MigrationEvent[] = [];
  const parser = createParser({
    onEvent: ({ data }) => events.push(migrationEventSchema.parse(JSON.parse(data))),
    maxBufferSize: 1 << 20,
  });
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    parser.feed(text);
    yield* events.splice(0);
  }
}
