/** `dmigrate agent` and `dmigrate planner`: the services themselves. Their flags are their settings. */
import type { Command } from "commander";
import { variableOf } from "../../shared/config.ts";
import { act, type CommandContext } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";

export function addProcesses(program: Command, context: CommandContext): void {
  const { env } = context.io;
  addProcess(program, context, {
    name: "agent",
    description: "run a node's services (dumper, shipper, pager, restorer) on one port",
    settings: async () => Object.keys((await import("../../agent/config.ts")).agentConfigShape),
    run: async (argv) => (await import("../../agent/agent.ts")).runAgent(argv, env),
  });
  addProcess(program, context, {
    name: "planner",
    description: "run the planner",
    settings: async () => Object.keys((await import("../../planner/config.ts")).plannerConfigShape),
    run: async (argv) => (await import("../../planner/planner.ts")).runPlanner(argv, env),
  });
}

interface Process {
  name: string;
  description: string;
  settings: () => Promise<string[]>;
  run: (argv: readonly string[]) => Promise<void>;
}

function addProcess(program: Command, context: CommandContext, { name, description, settings, run }: Process): void {
  program
    .command(name)
    .description(description)
    .argument("[settings...]", "--NAME VALUE; each is an environment variable as well")
    .usage("[--NAME VALUE]...")
    // The flags are those of its settings, which it reads itself.
    .allowUnknownOption()
    .helpOption(false)
    .action((argv: string[]) =>
      act(context, false, async () => {
        if (argv.includes("--help") || argv.includes("-h")) {
          context.io.stdout.write(await settingsHelp(name, description, settings));
          return exitCodes.ok;
        }
        await run(argv);
        return exitCodes.ok;
      }),
    );
}

async function settingsHelp(name: string, description: string, settings: () => Promise<string[]>): Promise<string> {
  const lines = (await settings()).map((setting) => {
    const variable = variableOf(setting);
    const flag = variable.replace("DMIGRATE_", "").replaceAll("_", "-").toLowerCase();
    return `  --${flag.padEnd(18)} ${variable}\n`;
  });
  return `dmigrate ${name}: ${description}\n\nSettings, by flag or environment variable (see the README):\n${lines.join("")}`;
}
