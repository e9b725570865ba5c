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

/** After this long without an answer the other addresses are asked as well. */
const answerTimeoutMs = 100;
const connectTimeoutMs = 100;
/** Between attempts: a client that asks without a pause takes the processor from those it waits for. */
const retryMs = 25;
const firstAnswerTimeoutMs = 2_000;

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

  /** The first address that answers a PING. A SYN that got lost is sent again soon; one that connected is waited for. */
  async #find(): Promise<Connection> {
    const found = new AbortController();
    const attempts = this.#addresses.map(async ({ host, port }) => {
      const connection = await this.#connect(host, port, AbortSignal.any([found.signal, this.#stop.signal]));
      if (found.signal.aborted) {
        await connection[Symbol.asyncDispose]();
        throw new Error("another address answered first");
      }
      found.abort();
      return connection;
    });
    return Promise.any(attempts);
  }

  async #connect(host: string, port: number, signal: AbortSignal): Promise<Connection> {
    for (;;) {
      signal.throwIfAborted();
      let connection: Connection | undefined;
      try {
        connection = await connectRedis(host, port, connectTimeoutMs);
        await withTimeout(connection.client.ping(), firstAnswerTimeoutMs, signal);
        return connection;
      } catch {
        await connection?.[Symbol.asyncDispose]();
        await sleep(retryMs);
      }
    }
  }
}

async function withTimeout<T>(work: Promise<T>, ms: number, signal?: AbortSignal): Promise<T> {
  const timeout = Promise.withResolvers<never>();
  const giveUp = (): void => timeout.reject(new Error(`no answer within ${ms} ms`));
  const timer = setTimeout(giveUp, ms);
  signal?.addEventListener("abort", giveUp, { once: true });
  try {
    return await Promise.race([work, timeout.promise]);
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", giveUp);
  }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
