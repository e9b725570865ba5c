/** What Docker's events say of a container's end. Pure. */
import { z } from "zod";

export interface ContainerEnd {
  /** Somebody has ended it through Docker: `docker stop`, `kill`, `rm -f` and the like. */
  stopped: boolean;
  /** Its exit code, if it has ended. */
  exitCode: number | undefined;
}

const eventSchema = z.object({
  Action: z.string(),
  Actor: z.object({ Attributes: z.record(z.string(), z.string()) }),
});

/** By which a container is told to end; others are for what the program makes of them, as HUP to read its settings anew. */
const ending: ReadonlySet<string> = new Set(["2", "3", "9", "15"]);

/** `text`: a JSON value a line, as GET /events of the Docker Engine API answers. */
export function readEnd(text: string): ContainerEnd {
  const end: ContainerEnd = { stopped: false, exitCode: undefined };
  for (const line of text.split("\n").filter(Boolean)) {
    const event = eventSchema.safeParse(parse(line)).data;
    if (event === undefined) continue;
    const { Action, Actor } = event;
    if (Action === "stop" || (Action === "kill" && ending.has(Actor.Attributes["signal"] ?? ""))) end.stopped = true;
    if (Action === "die") end.exitCode = Number.parseInt(Actor.Attributes["exitCode"] ?? "", 10);
  }
  return end;
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
