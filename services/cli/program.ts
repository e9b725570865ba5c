/** The dmigrate command: its commands, its help, its exit code. */
import { Command, CommanderError } from "commander";
import type { CommandContext } from "./command.ts";
import { addDoctor } from "./commands/doctor.ts";
import { addMigrate } from "./commands/migrate.ts";
import { addMigrations } from "./commands/migrations.ts";
import { addNodes } from "./commands/nodes.ts";
import { addProcesses } from "./commands/processes.ts";
import { exitCodeHelp, exitCodes, type ExitCode } from "./exit-codes.ts";
import type { CliIo } from "./io.ts";

/** Runs one command line (without the program's name), and resolves with its exit code; never rejects for bad usage. */
export async function runCli(argv: readonly string[], io: CliIo): Promise<ExitCode> {
  let code: ExitCode = exitCodes.ok;
  const program = createProgram({ io, finish: (result) => (code = result) });
  try {
    await program.parseAsync([...argv], { from: "user" });
    return code;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
  }
}

function createProgram(context: CommandContext): Command {
  const { io } = context;
  const program = new Command("dmigrate")
    .description("Live migration of running Docker containers between hosts")
    .exitOverride()
    .configureOutput({ writeOut: (text) => io.stdout.write(text), writeErr: (text) => io.stderr.write(text) })
    .showHelpAfterError("(see dmigrate --help)")
    .addHelpText("after", `\n${exitCodeHelp}`);
  addMigrate(program, context);
  addMigrations(program, context);
  addNodes(program, context);
  addDoctor(program, context);
  addProcesses(program, context);
  return program;
}
