/** `dmigrate status`, `events` and `cancel`: migrations that have been started. */
import type { Command } from "commander";
import { migrationListSchema, migrationSchema, type MigrationEvent } from "../../shared/contracts/planner.ts";
import { DmigrateError } from "../../shared/errors.ts";
import { migrationIdSchema } from "../../shared/contracts/common.ts";
import { askPlanner, withPlanner, type CommandContext, type CommonOptions } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { printJson } from "../io.ts";
import { formatMs, renderList, renderMigration, renderTable } from "../table.ts";

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
}

const renderEvent = ({ at, type, phase, message }: MigrationEvent): string =>
  `${at}  ${phase.padEnd(10)}  ${type.padEnd(8)}  ${message}\n`;
