/** `dmigrate nodes`: the nodes that the planner knows. */
import type { Command } from "commander";
import { z } from "zod";
import { nodeNameSchema } from "../../shared/contracts/common.ts";
import { nodeListSchema, nodeSchema, type Node } from "../../shared/contracts/planner.ts";
import { DmigrateError } from "../../shared/errors.ts";
import { askPlanner, withPlanner, withPlannerNamed, type CommandContext, type CommonOptions } from "../command.ts";
import { exitCodes } from "../exit-codes.ts";
import { printJson } from "../io.ts";
import { readToken } from "../planner-client.ts";
import { formatBytes, renderTable } from "../table.ts";

interface AddOptions extends CommonOptions {
  url: string;
  tokenEnv?: string;
  plannerTokenFile?: string;
  dataHost?: string;
  dumperUrl?: string;
  shipperUrl?: string;
  pagerUrl?: string;
  restorerUrl?: string;
}

export function checkNodeName(name: string): string {
  if (nodeNameSchema.safeParse(name).success) return name;
  throw new DmigrateError("invalid-request", `${name} is no node name: letters, digits, dots, dashes and underscores`);
}

export function addNodes(program: Command, context: CommandContext): void {
  const { io } = context;
  const nodes = program.command("nodes").description("the nodes that the planner knows; alone, lists them");
  withPlanner(
    nodes
      .command("list", { isDefault: true })
      .description("list them, whether they answer, and what they have to spend"),
  ).action((options: CommonOptions) =>
    askPlanner(context, options, async ({ api }) => {
      const list = await api.get("/nodes", nodeListSchema);
      if (options.json === true) printJson(io, list);
      else io.stdout.write(renderNodes(list.nodes));
      return undefined;
    }),
  );

  withPlannerNamed(nodes.command("add").description("register a node, or change its registration"))
    .argument("<name>", "what it shall be called")
    .requiredOption("--url <url>", "its agent's address, such as http://10.0.0.1:7400")
    .option("--token-file <path>", "a file with the agent's token")
    .option("--token-env <variable>", "the environment variable with the agent's token")
    .option("--data-host <host>", "where other nodes reach its data port; the agent's host unless told")
    .option("--dumper-url <url>", "the dumper's own address, where it is not the agent's")
    .option("--shipper-url <url>", "likewise")
    .option("--pager-url <url>", "likewise")
    .option("--restorer-url <url>", "likewise")
    .action((name: string, options: AddOptions) =>
      askPlanner(context, plannerOptions(options), async ({ api }) => {
        const { dumperUrl, shipperUrl, pagerUrl, restorerUrl, dataHost } = options;
        const services = { dumper: dumperUrl, shipper: shipperUrl, pager: pagerUrl, restorer: restorerUrl };
        const body = { agent: { url: options.url, token: nodeToken(options, io.env) }, services, dataHost };
        // JSON leaves out what was not given.
        const node = await api.put(`/nodes/${checkNodeName(name)}`, body, nodeSchema);
        if (options.json === true) printJson(io, node);
        else if (node.reachable) io.stdout.write(`node ${name} is registered, and answers\n`);
        else io.stderr.write(`node ${name} is registered, but does not answer now: ${node.error ?? ""}\n`);
        return undefined;
      }),
    );

  withPlanner(nodes.command("remove").description("forget a node"))
    .argument("<name>", "a node")
    .action((name: string, options: CommonOptions) =>
      askPlanner(context, options, async ({ api }) => {
        const answer = await api.delete(`/nodes/${checkNodeName(name)}`, z.object({ deleted: z.boolean() }));
        if (options.json === true) printJson(io, answer);
        else if (answer.deleted) io.stdout.write(`node ${name} is forgotten\n`);
        else io.stderr.write(`there is no node ${name}\n`);
        return answer.deleted ? exitCodes.ok : exitCodes.conflict;
      }),
    );
}

/** Here --token-file is the node's. */
function plannerOptions({ json, planner, plannerTokenFile }: AddOptions): CommonOptions {
  return {
    ...(json !== undefined && { json }),
    ...(planner !== undefined && { planner }),
    ...(plannerTokenFile !== undefined && { tokenFile: plannerTokenFile }),
  };
}

function nodeToken({ tokenFile, tokenEnv }: AddOptions, env: NodeJS.ProcessEnv): string {
  if (tokenFile !== undefined && tokenEnv === undefined) return readToken(tokenFile);
  if (tokenFile !== undefined || tokenEnv === undefined)
    throw new DmigrateError("invalid-request", "give the agent's token by --token-file or --token-env");
  const token = env[tokenEnv];
  if (token === undefined || token === "")
    throw new DmigrateError("invalid-request", `the variable ${tokenEnv} is not set`);
  return token;
}

function renderNodes(nodes: readonly Node[]): string {
  const rows = nodes.map(({ name, agentUrl, reachable, error, resources }) => {
    if (resources === undefined) return [name, agentUrl, reachable ? "yes" : "no", error ?? ""];
    const { cores, loadAverage1m, memoryAvailableBytes, diskFreeBytes, criuVersion, docker } = resources;
    return [
      name,
      agentUrl,
      "yes",
      `${cores} cores, load ${loadAverage1m.toFixed(1)}, ${formatBytes(memoryAvailableBytes)} memory, ` +
        `${formatBytes(diskFreeBytes)} disk, Docker ${docker.version}, CRIU ${criuVersion ?? "missing"}`,
    ];
  });
  return renderTable([["NAME", "AGENT", "ANSWERS", "RESOURCES"], ...rows]);
}
