/** What all commands that talk to the planner share: their options, their errors, their exit codes. */
import type { Command } from "commander";
import { asDmigrateError } from "../shared/errors.ts";
import { exitCodeOf, exitCodes, type ExitCode } from "./exit-codes.ts";
import { printError, type CliIo } from "./io.ts";
import { connectPlanner, defaultPlanner, type PlannerClient, type PlannerOptions } from "./planner-client.ts";

export interface CommonOptions extends PlannerOptions {
  json?: boolean;
}

/** Notes the exit code of the command that ran. */
export type Finish = (code: ExitCode) => void;

export interface CommandContext {
  io: CliIo;
  finish: Finish;
}

export const withJson = (command: Command): Command =>
  command.option("--json", "print one JSON value on stdout, and errors as problem JSON on stderr");

const withPlannerAddress = (command: Command): Command =>
  withJson(command).option("--planner <url>", `the planner's address (DMIGRATE_PLANNER; default ${defaultPlanner})`);

export const withPlanner = (command: Command): Command =>
  withPlannerAddress(command).option("--token-file <path>", "a file with the planner's token (or DMIGRATE_TOKEN)");

/** For a command whose --token-file is another one's. */
export const withPlannerNamed = (command: Command): Command =>
  withPlannerAddress(command).option(
    "--planner-token-file <path>",
    "a file with the planner's token (or DMIGRATE_TOKEN)",
  );

/** Runs a command: whatever it throws is printed once and becomes the exit code. */
export async function act(
  { io, finish }: CommandContext,
  asJson: boolean,
  work: () => Promise<ExitCode>,
): Promise<void> {
  try {
    finish(await work());
  } catch (thrown) {
    const error = asDmigrateError(thrown, "internal", "unexpected failure");
    printError(io, error, asJson);
    finish(exitCodeOf(error));
  }
}

/** As `act`, with the planner. */
export const askPlanner = (
  context: CommandContext,
  options: CommonOptions,
  work: (planner: PlannerClient) => Promise<ExitCode | undefined>,
): Promise<void> =>
  act(context, options.json === true, async () => {
    const planner = connectPlanner(options, context.io.env);
    try {
      return (await work(planner)) ?? exitCodes.ok;
    } finally {
      planner.api.close();
    }
  });

/** For options that may be given several times. */
export const collect = (value: string, earlier: readonly string[]): string[] => [...earlier, value];
