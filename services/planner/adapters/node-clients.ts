/** The services of a registered node, each by its own client: connections are kept and reused by all migrations. */
import { createClient, type ServiceClient } from "../../shared/client.ts";
import { DmigrateError } from "../../shared/errors.ts";
import type { NodeTable, StoredNode } from "./node-table.ts";

export interface NodeClients {
  readonly name: string;
  /** Where the other node's shipper and pager connect to. */
  readonly dataHost: string;
  readonly agent: ServiceClient;
  readonly dumper: ServiceClient;
  readonly shipper: ServiceClient;
  readonly pager: ServiceClient;
  readonly restorer: ServiceClient;
}

export interface NodePool {
  /**
   * The node as it is registered at each use: a migration that waits for a node follows it to its new address.
   * Throws `not-found` for a node that is not registered.
   */
  connect(name: string): NodeClients;
  /** The registration has changed. Calls under way end by themselves, on their old connections. */
  forget(name: string): void;
  /** Closes all connections. */
  close(): void;
}

export function createNodePool(nodes: NodeTable): NodePool {
  const open = new Map<string, NodeClients>();
  const current = (name: string): NodeClients => {
    const known = open.get(name);
    if (known !== undefined) return known;
    const node = nodes.get(name);
    if (node === undefined) {
      throw new DmigrateError(
        "not-found",
        `there is no node ${name}; see "dmigrate nodes", and register it with "dmigrate nodes add"`,
      );
    }
    const clients = openNode(node);
    open.set(name, clients);
    return clients;
  };
  return {
    connect: (name) => {
      current(name);
      return {
        name,
        get dataHost() {
          return current(name).dataHost;
        },
        get agent() {
          return current(name).agent;
        },
        get dumper() {
          return current(name).dumper;
        },
        get shipper() {
          return current(name).shipper;
        },
        get pager() {
          return current(name).pager;
        },
        get restorer() {
          return current(name).restorer;
        },
      };
    },
    forget: (name) => void open.delete(name),
    close: () => {
      for (const { agent, dumper, shipper, pager, restorer } of open.values())
        for (const client of [agent, dumper, shipper, pager, restorer]) client.close();
      open.clear();
    },
  };
}

function openNode(node: StoredNode): NodeClients {
  const { name, agent, services = {} } = node;
  const client = (service: string, url: string): ServiceClient =>
    createClient(`the ${service} of node ${name}`, url, agent.token);
  return {
    name,
    dataHost: dataHostOf(node),
    agent: client("agent", agent.url),
    dumper: client("dumper", services.dumper ?? agent.url),
    shipper: client("shipper", services.shipper ?? agent.url),
    pager: client("pager", services.pager ?? agent.url),
    restorer: client("restorer", services.restorer ?? agent.url),
  };
}

/** The host that was given, or that of the shipper, which listens for data. */
export function dataHostOf({ dataHost, agent, services }: StoredNode): string {
  return dataHost ?? new URL(services?.shipper ?? agent.url).hostname.replace(/^\[(.*)\]$/, "$1");
}
