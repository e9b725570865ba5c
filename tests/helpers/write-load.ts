/**
 * A steady write load that follows a Redis from node to node, as a client behind a load balancer would: it writes
 * numbered keys, remembers which writes were acknowledged, and when no answer comes asks all addresses and stays with
 * the first that answers.
 */
import { connectRedis } from "./redis-data.ts";

export interface RedisAddress {
  host: string;
  port: number;
}

type Connection = Awaited<ReturnType<typeof connectRedis>>;

const answerTimeoutMs = 100;

export class WriteLoad {
  readonly #addresses: readonly RedisAddress[];
  readonly #intervalMs: number;
  readonly #acknowledged: number[] = [];
  readonly #stop = new AbortController();
  #longestGapMs = 0;
  #lastAnswerMs = performance.now();
  #running: Promise<void> = Promise.resolve();

  constructor(addresses: readonly RedisAddress[], writesPerSecond: number) {
    this.#addresses = addresses;
    this.#intervalMs = 1000 / writesPerSecond;
  }

  start(): void {
    this.#lastAnswerMs = performance.now();
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  get acknowledgedCount(): number {
    return this.#acknowledged.length;
  }

  /** The longest time without an acknowledged write since the last call: the downtime as a client sees it. */
  takeLongestGapMs(): number {
    const gap = this.#longestGapMs;
    this.#longestGapMs = 0;
    return gap;
  }

  /** How many acknowledged writes are not there. */
  async countLost(address: RedisAddress): Promise<number> {
    await using redis = await connectRedis(address.host, address.port);
    let lost = 0;
    for (let first = 0; first < this.#acknowledged.length; first += 1000) {
      const numbers = this.#acknowledged.slice(first, first + 1000);
      const values = await redis.client.mGet(numbers.map((number) => `load:${number}`));
      lost += values.filter((value, at) => value !== String(numbers[at])).length;
    }
    return lost;
  }

  async #run(): Promise<void> {
    let connection: Connection | undefined;
    for (let number = 0; !this.#stop.signal.aborted;) {
      try {
        connection ??= await this.#find();
        await withTimeout(connection.client.set(`load:${number}`, String(number)), answerTimeoutMs);
      } catch {
        // Unacknowledged: it may or may not have been applied, and is written again wherever Redis is now.
        await connection?.[Symbol.asyncDispose]();
        connection = undefined;
        await sleep(1);
        continue;
      }
      this.#noteAnswer();
      this.#acknowledged.push(number);
      number += 1;
      await sleep(this.#intervalMs);
    }
    await connection?.[Symbol.asyncDispose]();
  }

  #noteAnswer(): void {
    const now = performance.now();
    this.#longestGapMs = Math.max(this.#longestGapMs, now - this.#lastAnswerMs);
    this.#lastAnswerMs = now;
  }

  /** The first address that answers a PING. The others' attempts are dropped. */
  async #find(): Promise<Connection> {
    const attempts = this.#addresses.map(async ({ host, port }) => {
      const connection = await connectRedis(host, port, answerTimeoutMs);
      try {
        await withTimeout(connection.client.ping(), answerTimeoutMs);
        return connection;
      } catch (error) {
        await connection[Symbol.asyncDispose]();
        throw error;
      }
    });
    const winner = await Promise.any(attempts);
    for (const attempt of attempts) {
      void attempt.then(
        (connection) => (connection === winner ? undefined : connection[Symbol.asyncDispose]()),
        () => undefined,
      );
    }
    return winner;
  }
}

async function withTimeout<T>(work: Promise<T>, ms: number): Promise<T> {
  const timeout = Promise.withResolvers<never>();
  const timer = setTimeout(() => timeout.reject(new Error(`no answer within ${ms} ms`)), ms);
  try {
    return await Promise.race([work, timeout.promise]);
  } finally {
    clearTimeout(timer);
  }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
