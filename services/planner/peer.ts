/**
 * A node as one migration meets it. Once the operator has given the node up for good, no call to it is made any more, and one
 * under way ends at once: whatever waits for the node goes on without it.
 */
import type { CallOptions, ServiceClient } from "../shared/client.ts";
import { DmigrateError } from "../shared/errors.ts";
import type { NodeClients } from "./adapters/node-clients.ts";

export interface Peer extends NodeClients {
  /** Aborts, with `NodeAbandoned` for its reason, once the operator has said that the node is gone for good. */
  readonly abandoned: AbortSignal;
  /** From now on every call to the node throws `NodeAbandoned`, those under way as well. Only after the word is durable. */
  abandon(): void;
}

/** What every call to an abandoned node ends with. No repetition mends it. */
export class NodeAbandoned extends DmigrateError {
  constructor(node: string) {
    super("unavailable", `node ${node} was abandoned: the operator has said that it is gone for good`);
  }
}

/** The node for one migration; what other migrations do with it goes on. */
export function createPeer(node: NodeClients): Peer {
  const { name } = node;
  const abandoning = new AbortController();
  const abandoned = abandoning.signal;
  return {
    name,
    abandoned,
    abandon: () => abandoning.abort(new NodeAbandoned(name)),
    get dataHost() {
      return node.dataHost;
    },
    get agent() {
      return endingWith(abandoned, node.agent);
    },
    get dumper() {
      return endingWith(abandoned, node.dumper);
    },
    get shipper() {
      return endingWith(abandoned, node.shipper);
    },
    get pager() {
      return endingWith(abandoned, node.pager);
    },
    get restorer() {
      return endingWith(abandoned, node.restorer);
    },
  };
}

/** The client, whose calls end with `signal`'s reason. */
function endingWith(signal: AbortSignal, client: ServiceClient): ServiceClient {
  const ending = async <T>(call: (options: CallOptions) => Promise<T>, options: CallOptions = {}): Promise<T> => {
    signal.throwIfAborted();
    try {
      return await call({
        ...options,
        signal: options.signal === undefined ? signal : AbortSignal.any([options.signal, signal]),
      });
    } catch (error) {
      signal.throwIfAborted();
      throw error;
    }
  };
  return {
    url: client.url,
    get: (path, answer, options) => ending((bound) => client.get(path, answer, bound), options),
    post: (path, body, answer, options) => ending((bound) => client.post(path, body, answer, bound), options),
    put: (path, body, answer, options) => ending((bound) => client.put(path, body, answer, bound), options),
    delete: (path, answer, options) => ending((bound) => client.delete(path, answer, bound), options),
    close: () => client.close(),
  };
}
