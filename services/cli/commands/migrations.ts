/** `dmigrate status`, `events`, `cancel` and `abandon`: migrations that have been started. */
import type { Command } from "commander";
import { migrationListSchema, migrationSchema, type MigrationEvent } from "../../shared/contracts/planner.ts";
import { DmigrateError } from "../../shared/errors.ts";
import { migrationIdSchema } from "../../shared/contracts/common.ts";
import { askPlanner, withPlanner, type CommandContext, type CommonOptions } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { printJson } from "../io.ts";
import { checkNodeName } from "./nodes.ts";
import { formatMs, renderList, renderMigration, renderTable } from "../table.ts";

interface AbandonOptions extends CommonOptions {
  node: string;
}

interface EventsOptions extends CommonOptions {
  follow?: boolean;
}

/** It goes into a path, so nothing else may. */
function checkId(id: string): string {
  if (migrationIdSchema.safeParse(id).success) return id;
  throw new DmigrateError("invalid-request", `${id} is no migration id: those are m- and 16 hex digits`);
}

export function addMigrations(program: Command, context: CommandContext): void {
  const { io } = context;
  withPlanner(program.command("status").description("a migration, or the latest ones"))
    .argument("[id]", "a migration")
    .action((id: string | undefined, options: CommonOptions) =>
      askPlanner(context, options, async ({ api }) => {
        if (id !== undefined) {
          const migration = await api.get(`/migrations/${checkId(id)}`, migrationSchema);
          if (options.json === true) printJson(io, migration);
          else io.stdout.write(renderMigration(migration) + renderList("planned", migration.plan?.reasons ?? []));
          return undefined;
        }
        const list = await api.get("/migrations", migrationListSchema);
        if (options.json === true) printJson(io, list);
        else {
          const rows = list.migrations.map((m) => [
            m.id,
            m.container,
            m.from,
            m.to,
            m.phase,
            formatMs(m.downtimeMs),
            formatMs(m.totalMs),
            m.createdAt,
          ]);
          io.stdout.write(
            renderTable([["ID", "CONTAINER", "FROM", "TO", "PHASE", "DOWNTIME", "TOTAL", "STARTED"], ...rows], [5, 6]),
          );
        }
        return undefined;
      }),
    );

  withPlanner(program.command("events").description("what has happened in a migration"))
    .argument("<id>", "a migration")
    .option("--follow", "go on until it has ended; with --json one object per line")
    .action((id: string, options: EventsOptions) =>
      askPlanner(context, options, async (planner) => {
        const follow = options.follow === true;
        const signal = io.interrupted();
        const all: MigrationEvent[] = [];
        try {
          for await (const event of planner.events(checkId(id), { follow, signal })) {
            if (options.json !== true) io.stdout.write(renderEvent(event));
            else if (follow) printJson(io, event);
            else all.push(event);
          }
        } catch (error) {
          if (signal.aborted) return exitCodes.interrupted;
          throw error;
        }
        if (options.json === true && !follow) printJson(io, all);
        return undefined;
      }),
    );

  withPlanner(program.command("cancel").description("put a migration back; possible until the container resumes"))
    .argument("<id>", "a migration")
    .action((id: string, options: CommonOptions) =>
      askPlanner(context, options, async ({ api }) => {
        const migration = await api.delete(`/migrations/${checkId(id)}`, migrationSchema);
        if (options.json === true) printJson(io, migration);
        else
          io.stdout.write(
            `migration ${id} is being cancelled (${migration.phase}); see "dmigrate events ${id} --follow"\n`,
          );
        return undefined;
      }),
    );

  withPlanner(program.command("abandon").description("end a migration that waits for a node which is gone for good"))
    .argument("<id>", "a migration")
    .requiredOption(
      "--node <node>",
      "its source or destination: powered off or fenced, never to run the container again",
    )
    .addHelpText("after", abandonHelp)
    .action((id: string, options: AbandonOptions) =>
      askPlanner(context, options, async ({ api }) => {
        const node = checkNodeName(options.node);
        const migration = await api.post(`/migrations/${checkId(id)}/abandon`, { node }, migrationSchema);
        if (options.json === true) printJson(io, migration);
        else
          io.stdout.write(
            `migration ${id} goes on without node ${node} (${migration.phase}); see "dmigrate events ${id} --follow"\n`,
          );
        return undefined;
      }),
    );
}

const abandonHelp = `
Your word that the node is powered off or fenced, and will never run this container again. By the migration's phase:
  aborting    nothing more is undone there; "dmigrate events" says what is left on it
  resuming    destination: the container goes on at the source. If your word is wrong, and the
              destination is only out of the planner's reach, THE CONTAINER MAY RUN TWICE
              source: the destination decides as before, and what follows does without the source
  draining    destination: the container is lost with it; the migration ends failed, and its
              error says how to go back to the source as it was at the freeze
  committing  destination: as in draining; source: it is not released, and the migration committed
Refused (exit code 4) in other phases, and while the node answers.`;

const renderEvent = ({ at, type, phase, message }: MigrationEvent): string =>
  `${at}  ${phase.padEnd(10)}  ${type.padEnd(8)}  ${message}\n`;
