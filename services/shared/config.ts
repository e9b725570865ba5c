/**
 * Settings by environment and flags, validated once at start. A setting `dataListen` is the variable
 * DMIGRATE_DATA_LISTEN and the flag --data-listen; the flag wins.
 */
import { parseArgs } from "node:util";
import { z } from "zod";
import { DmigrateError } from "./errors.ts";
import { logLevels } from "./log.ts";

const listenPattern = /^(?:\[(?<v6>[0-9a-fA-F:]+)\]|(?<host>[a-zA-Z0-9_.-]+)):(?<port>\d{1,5})$/;

export interface ListenAddress {
  host: string;
  port: number;
}

/** `host:port` or `[v6]:port`; port 0 takes any free one. */
export const listenSchema = z.string().transform((text, context): ListenAddress => {
  const groups = listenPattern.exec(text)?.groups;
  const port = Number(groups?.["port"]);
  if (groups === undefined || port > 65_535) {
    context.addIssue({ code: "custom", message: "must be host:port, such as 127.0.0.1:7400" });
    return z.NEVER;
  }
  return { host: groups["v6"] ?? groups["host"] ?? "", port };
});

/** Settings that every service has. `token` guards every route but health. */
export const commonConfigShape = {
  token: z.string().min(16, "must have at least 16 characters").max(512).optional(),
  logLevel: z.enum(logLevels).default("info"),
  /** Where state of running migrations is kept; on a node it must be the directory that the runtime wrapper knows. */
  stateDir: z.string().startsWith("/").default("/run/dmigrate"),
};

/** Settings of a service that sits on a node. */
export const nodeConfigShape = {
  ...commonConfigShape,
  dockerSocket: z.string().startsWith("/").default("/var/run/docker.sock"),
};

const kebab = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** The environment variable of a setting. */
export const variableOf = (name: string): string => `DMIGRATE_${kebab(name).replaceAll("-", "_").toUpperCase()}`;

/**
 * Reads the settings of `shape`. Throws `invalid-request`, naming every flag or variable at fault; a token is required
 * as soon as `listen` is not a loopback address.
 */
export function readConfig<Shape extends z.ZodRawShape>(
  shape: Shape,
  argv: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): z.infer<z.ZodObject<Shape>> {
  const names = Object.keys(shape);
  const flags = parseFlags(names, argv);
  const raw: Record<string, string> = {};
  for (const name of names) {
    const value = flags[kebab(name)] ?? env[variableOf(name)];
    if (value !== undefined && value !== "") raw[name] = value;
  }
  const parsed = z.object(shape).safeParse(raw);
  if (!parsed.success) {
    const fields = parsed.error.issues.map((issue) => {
      const name = String(issue.path[0]);
      return { field: `--${kebab(name)} (${variableOf(name)})`, message: issue.message };
    });
    const text = fields.map(({ field, message }) => `${field} ${message}`).join("; ");
    throw new DmigrateError("invalid-request", `bad settings: ${text}`, { fields });
  }
  const { listen, token } = parsed.data as { listen?: ListenAddress; token?: string };
  if (listen !== undefined && !isLoopback(listen.host) && token === undefined) {
    throw new DmigrateError(
      "invalid-request",
      `refusing to listen on ${listen.host} without a token: set DMIGRATE_TOKEN, or listen on 127.0.0.1`,
    );
  }
  return parsed.data;
}

function parseFlags(names: readonly string[], argv: readonly string[]): Record<string, string | undefined> {
  const options = Object.fromEntries(names.map((name) => [kebab(name), { type: "string" as const }]));
  try {
    return parseArgs({ args: [...argv], options, allowPositionals: false }).values;
  } catch (cause) {
    throw new DmigrateError("invalid-request", cause instanceof Error ? cause.message : String(cause), { cause });
  }
}

export const isLoopback = (host: string): boolean => host === "localhost" || host === "::1" || /^127\./.test(host);
