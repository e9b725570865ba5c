/** The registered nodes as people see them: whether they answer, what they have to spend, never their tokens. */
import { nodeResourcesSchema } from "../shared/contracts/common.ts";
import type { Node, PutNode } from "../shared/contracts/planner.ts";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import { dataHostOf, type NodePool } from "./adapters/node-clients.ts";
import type { LinkTable } from "./adapters/link-table.ts";
import type { NodeTable, StoredNode } from "./adapters/node-table.ts";

export interface NodesDeps {
  table: NodeTable;
  links: LinkTable;
  pool: NodePool;
  /** How long a node may take to tell its resources, milliseconds. */
  reachMs: number;
  /** Unfinished migrations that a node takes part in. */
  using(node: string): string[];
}

export interface Nodes {
  list(): Promise<Node[]>;
  get(name: string): Promise<Node>;
  put(name: string, node: PutNode): Promise<Node>;
  /** False when there was none. Throws `conflict` while a migration needs the node. */
  delete(name: string): boolean;
}

export function createNodes(deps: NodesDeps): Nodes {
  const { table, links, pool, reachMs } = deps;
  const show = async (node: StoredNode): Promise<Node> => {
    const shown = {
      name: node.name,
      agentUrl: node.agent.url,
      services: namedServices(node),
      dataHost: dataHostOf(node),
    };
    try {
      const resources = await pool
        .connect(node.name)
        .agent.get("/resources", nodeResourcesSchema, { timeoutMs: reachMs });
      return { ...shown, reachable: true, resources };
    } catch (error) {
      return { ...shown, reachable: false, error: messageOf(error) };
    }
  };
  return {
    list: () => Promise.all(table.list().map(show)),
    get: (name) => {
      const node = table.get(name);
      if (node === undefined) throw new DmigrateError("not-found", `there is no node ${name}`);
      return show(node);
    },
    put: (name, node) => {
      const stored = { name, ...node };
      table.put(stored);
      links.forget(name);
      pool.forget(name);
      return show(stored);
    },
    delete: (name) => {
      const [id] = deps.using(name);
      if (id !== undefined)
        throw new DmigrateError("conflict", `migration ${id} still needs node ${name}; remove it when that has ended`);
      pool.forget(name);
      links.forget(name);
      return table.delete(name);
    },
  };
}

/** Those of its services that have an address of their own. */
function namedServices({ services = {} }: StoredNode): Record<string, string> {
  const named: Record<string, string> = {};
  for (const [service, url] of Object.entries(services)) if (url !== undefined) named[service] = url;
  return named;
}
