/** `dmigrate migrate` and `dmigrate plan`: start a migration and follow it to its end, or say what it would be. */
import { Option, type Command } from "commander";
import {
  migrationModeSchema,
  migrationSchema,
  planSchema,
  type CreateMigration,
  type Migration,
  type MigrationMode,
  type Plan,
} from "../../shared/contracts/planner.ts";
import { askPlanner, collect, withPlanner, type CommandContext, type CommonOptions } from "../command.ts";
import { exitCodes, type ExitCode } from "../exit-codes.ts";
import { printError, printJson, type CliIo } from "../io.ts";
import type { PlannerClient } from "../planner-client.ts";
import { createProgress } from "../progress.ts";
import { formatBytes, renderList, renderMigration, renderTable } from "../table.ts";
import { DmigrateError, statusOf, type ErrorCode } from "../../shared/errors.ts";

interface MoveOptions extends CommonOptions {
  from: string;
  to: string;
  mode: MigrationMode;
  removeSource?: boolean;
  sharedPath: string[];
  moveBind: string[];
}

const toRequest = (
  container: string,
  { from, to, mode, removeSource, sharedPath, moveBind }: MoveOptions,
): Partial<CreateMigration> => ({
  container,
  from,
  to,
  mode,
  removeSource: removeSource === true,
  sharedPaths: sharedPath,
  moveBinds: moveBind,
});

const withMove = (command: Command): Command =>
  withPlanner(
    command
      .argument("<container>", "name or id of the container on the source node")
      .requiredOption("--from <node>", "node that it runs on")
      .requiredOption("--to <node>", "node that it shall run on")
      .addOption(
        new Option(
          "--mode <mode>",
          "when memory moves: after the resume, before the freeze too, or all of it before the resume",
        )
          .choices(migrationModeSchema.options)
          .default("post-copy"),
      )
      .option("--remove-source", "remove the stopped source container at the end")
      .option("--shared-path <path>", "host path that both nodes see as the same storage; may be repeated", collect, [])
      .option(
        "--move-bind <path>",
        "source of a bind mount, moved like a volume to the same path; may be repeated",
        collect,
        [],
      ),
  );

/** Seconds for a plan: the profile may have to add up a large file system. */
const planTimeoutMs = 90_000;

export function addMigrate(program: Command, context: CommandContext): void {
  withMove(program.command("migrate").description("move a running container to another node")).action(
    (container: string, options: MoveOptions) =>
      askPlanner(context, options, (planner) => migrate(context.io, planner, container, options)),
  );
  withMove(program.command("plan").description("dry run: the plan of a migration, and every reason against it")).action(
    (container: string, options: MoveOptions) =>
      askPlanner(context, options, async ({ api }) => {
        const plan = await api.post("/plans", toRequest(container, options), planSchema, { timeoutMs: planTimeoutMs });
        if (options.json === true) printJson(context.io, plan);
        else context.io.stdout.write(renderPlan(plan));
        return plan.refusals.length > 0 ? exitCodes.refused : exitCodes.ok;
      }),
  );
}

async function migrate(io: CliIo, planner: PlannerClient, container: string, options: MoveOptions): Promise<ExitCode> {
  const { id } = await planner.api.post("/migrations", toRequest(container, options), migrationSchema, {
    timeoutMs: planTimeoutMs,
  });
  const progress = createProgress(io.stderr);
  const signal = io.interrupted();
  try {
    for await (const event of planner.events(id, { follow: true, signal })) progress.show(event);
  } catch (error) {
    progress.end();
    if (!signal.aborted) throw error;
    io.stderr.write(
      `detached: migration ${id} goes on. Follow it with "dmigrate events ${id} --follow", cancel it with "dmigrate cancel ${id}"\n`,
    );
    return exitCodes.interrupted;
  }
  progress.end();
  const migration = await planner.api.get(`/migrations/${id}`, migrationSchema);
  return report(io, migration, options.json === true);
}

function report(io: CliIo, migration: Migration, asJson: boolean): ExitCode {
  if (asJson) printJson(io, migration);
  else io.stdout.write(renderMigration(migration));
  if (migration.phase === "committed") return exitCodes.ok;
  printError(io, errorOf(migration), asJson);
  return exitCodes.failed;
}

function errorOf({ id, phase, error, from, abandoned }: Migration): DmigrateError {
  const code: ErrorCode = error !== undefined && error.code in statusOf ? (error.code as ErrorCode) : "internal";
  const undone = abandoned.includes(from)
    ? `has ended without node ${from}, where the container was`
    : "was rolled back, the container runs on where it was";
  const what = phase === "aborted" ? undone : "could not be completed";
  return new DmigrateError(code, `migration ${id} ${what}: ${error?.message ?? phase}`, {
    reasons: error?.reasons ?? [],
  });
}

function renderPlan(plan: Plan): string {
  const table = renderTable([
    ["container", plan.container],
    ["from, to", `${plan.from}, ${plan.to}`],
    ["mode", plan.mode],
    ["readers", String(plan.readers)],
    ["streams", String(plan.streams)],
    ["chunk", formatBytes(plan.chunkBytes)],
    ["window", formatBytes(plan.windowBytes)],
    ["compression", plan.compression],
    ["image", plan.shipImage ? "is sent" : "is there"],
    ["expected", formatBytes(plan.expectedBytes)],
  ]);
  const refusals = plan.refusals.map(({ code, message }) => `${message} [${code}]`);
  return table + renderList("because", plan.reasons) + renderList("it cannot move", refusals);
}
