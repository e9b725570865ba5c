/**
 * A known content for a Redis: `count` keys whose values can be computed again from the key alone, so that each of
 * them can be checked after a migration without a copy of the data being kept.
 */
import { createHash, randomFillSync } from "node:crypto";
import { createClient, RESP_TYPES } from "redis";

export const valueBytes = 1000;
const batch = 1000;

/** Values are windows into one random pool: incompressible, and different from key to key. */
export class RedisData {
  readonly count: number;
  readonly #pool = randomFillSync(Buffer.alloc(1 << 20));

  constructor(megabytes: number) {
    this.count = Math.ceil((megabytes * 1_000_000) / valueBytes);
  }

  /** Writes every key. */
  async fill(host: string, port: number): Promise<void> {
    await using redis = await connectRedis(host, port);
    for (let first = 0; first < this.count; first += batch) {
      const pairs: Record<string, Buffer> = {};
      for (const index of range(first, Math.min(first + batch, this.count))) pairs[keyOf(index)] = this.#valueOf(index);
      await redis.client.mSet(Object.entries(pairs).flat());
    }
  }

  /** Reads every key; returns how many are missing or differ. */
  async countWrong(host: string, port: number): Promise<number> {
    await using redis = await connectRedis(host, port);
    const binary = redis.client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });
    let wrong = 0;
    for (let first = 0; first < this.count; first += batch) {
      const indexes = range(first, Math.min(first + batch, this.count));
      const values = await binary.mGet(indexes.map(keyOf));
      values.forEach((value, at) => {
        const index = indexes[at] ?? -1;
        if (value === null || !this.#valueOf(index).equals(value)) wrong += 1;
      });
    }
    return wrong;
  }

  #valueOf(index: number): Buffer {
    const seed = createHash("sha1").update(String(index)).digest();
    const offset = seed.readUInt32LE(0) % (this.#pool.length - valueBytes);
    const value = Buffer.from(this.#pool.subarray(offset, offset + valueBytes));
    seed.copy(value);
    return value;
  }
}

const keyOf = (index: number): string => `key:${index}`;
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, at) => from + at);

/** A connection that fails at once instead of reconnecting or queueing: the caller decides what a failure means. */
export async function connectRedis(host: string, port: number, connectTimeoutMs = 2_000) {
  const client = createClient({
    socket: { host, port, connectTimeout: connectTimeoutMs, reconnectStrategy: false },
    disableOfflineQueue: true,
  });
  client.on("error", () => undefined); // Each command reports it too.
  await client.connect();
  return {
    client,
    [Symbol.asyncDispose]: () => {
      if (client.isOpen) client.destroy();
      return Promise.resolve();
    },
  };
}
