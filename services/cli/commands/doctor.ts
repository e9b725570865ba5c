/** `dmigrate doctor`: what a node lacks, and what to do about it. */
import type { Command } from "commander";
import type { Check } from "../../shared/contracts/common.ts";
import { nodeSchema } from "../../shared/contracts/planner.ts";
import { act, withPlanner, type CommandContext, type CommonOptions } from "../command.ts";
import { checkRemoteNode } from "../doctor/remote-checks.ts";
import { exitCodes } from "../exit-codes.ts";
import { printJson } from "../io.ts";
import { connectPlanner } from "../planner-client.ts";
import { checkNodeName } from "./nodes.ts";

interface DoctorOptions extends CommonOptions {
  node?: string;
}

export function addDoctor(program: Command, context: CommandContext): void {
  withPlanner(program.command("doctor").description("check this node, and say what to mend"))
    .option("--node <name>", "ask the planner about that node instead")
    .action((options: DoctorOptions) =>
      act(context, options.json === true, async () => {
        const checks =
          options.node === undefined ? await checkHere(context) : await checkThere(context, options, options.node);
        const ok = checks.every((check) => check.ok);
        if (options.json === true) printJson(context.io, { ok, checks });
        else context.io.stdout.write(checks.map(render).join(""));
        return ok ? exitCodes.ok : exitCodes.failed;
      }),
    );
}

async function checkHere({ io }: CommandContext): Promise<Check[]> {
  // The services' code is loaded only where it is asked for.
  const { checkThisNode } = await import("../doctor/node-checks.ts");
  return checkThisNode(io.env);
}

async function checkThere({ io }: CommandContext, options: DoctorOptions, name: string): Promise<Check[]> {
  const { api } = connectPlanner(options, io.env);
  try {
    return await checkRemoteNode(await api.get(`/nodes/${checkNodeName(name)}`, nodeSchema));
  } finally {
    api.close();
  }
}

const render = ({ name, ok, detail, fix }: Check): string =>
  `${ok ? "ok  " : "FAIL"}  ${name}: ${detail}\n${ok || fix === undefined ? "" : `      to mend it: ${fix}\n`}`;
