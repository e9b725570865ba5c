/** Redis and memcached, filled with random values and rewritten at a steady rate. */
import { countWrong, createKvData, fillStore } from "../kv/data.ts";
import { startLoad } from "../kv/load.ts";
import { valueBytes, type KvKind } from "../kv/protocol.ts";
import type { Workload } from "./workload.ts";

export interface StoreOptions {
  readonly name: string;
  readonly kind: KvKind;
  /** Of values, 10^6 bytes each. */
  readonly megabytes: number;
  readonly writesPerSecond: number;
  /** The share of the keys that is rewritten; all of them when absent. */
  readonly hotShare?: number;
}

const commands: Readonly<Record<KvKind, (megabytes: number) => { command: string[]; port: number }>> = {
  redis: () => ({
    command: ["redis-server", "--save", "", "--bind", "0.0.0.0", "--protected-mode", "no"],
    port: 6379,
  }),
  // A third more than the values: slabs, keys and items' heads.
  memcached: (megabytes) => ({
    command: ["memcached", "-u", "root", "-t", "4", "-m", String(Math.ceil(megabytes * 1.4 + 64))],
    port: 11_211,
  }),
};

export function storeWorkload({ name, kind, megabytes, writesPerSecond, hotShare = 1 }: StoreOptions): Workload {
  const keys = Math.ceil((megabytes * 1e6) / valueBytes);
  return {
    name,
    ...commands[kind](megabytes),
    megabytes: megabytes * 1.15,
    protocol: kind,
    keys,
    writesFiles: false,
    prepare: async ({ source, destination }) => {
      const data = createKvData(kind, megabytes);
      await fillStore(data, source);
      let written = 0;
      return {
        startLoad: () => {
          const options = { data, addresses: [source, destination], writesPerSecond, keys: Math.ceil(keys * hotShare) };
          const load = startLoad(options);
          return Promise.resolve(async () => void (written += (await load.stop()).acknowledged));
        },
        findFault: async () => {
          const wrong = await countWrong(data, destination);
          if (wrong > 0) return `${wrong} of ${keys} keys are wrong`;
          return written === 0 ? "no write was acknowledged" : undefined;
        },
      };
    },
  };
}
