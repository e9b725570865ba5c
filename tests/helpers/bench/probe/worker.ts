/**
 * The client whose view of a migration is measured: one request a millisecond, the next only after the answer. While one stays
 * unanswered it also asks all addresses anew, and counts the first answer from anywhere.
 * A thread of its own, so that nothing else in the process delays it.
 */
import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { parentPort, workerData } from "node:worker_threads";

import { protocolOf, type Protocol } from "./protocols.ts";
import { seek, type Address } from "./seek.ts";
import type { ProbeOptions, ProbeSamples } from "./probe.ts";

const everyMs = 1;
const seekAfterMs = 20;
const seekEveryMs = 2;

const now = (): number => performance.timeOrigin + performance.now();

class Probe {
  readonly sent: number[] = [];
  readonly answered: number[] = [];
  readonly #addresses: readonly Address[];
  readonly #protocol: Protocol;
  #current: Socket | undefined;

  constructor({ addresses, protocol, keys }: ProbeOptions) {
    this.#addresses = addresses;
    this.#protocol = protocolOf(protocol, keys);
  }

  async run(): Promise<never> {
    for (let number = 0; ; number++) {
      const begin = now();
      const isNew = this.#current === undefined;
      this.#current = await this.#ask(number);
      const end = now();
      // The first connection is no answer to a probe.
      if (!isNew || number > 0) {
        this.sent.push(begin);
        this.answered.push(end);
      }
      await sleep(Math.max(0, everyMs - (end - begin)));
    }
  }

  /** Resolves with the connection on which the answer came. */
  async #ask(number: number): Promise<Socket> {
    const current = this.#current;
    const lost = Promise.withResolvers<undefined>();
    const answered = current && this.#answerOn(current, this.#protocol.request(number), () => lost.resolve(undefined));
    const timer = setTimeout(() => lost.resolve(undefined), current === undefined ? 0 : seekAfterMs);
    const quick = await Promise.race([answered, lost.promise]);
    clearTimeout(timer);
    if (quick !== undefined) return quick;
    const { hello, isAnswer } = this.#protocol;
    const seeking = seek({ addresses: this.#addresses, hello, isAnswer, everyMs: seekEveryMs });
    const winner = await Promise.race(answered ? [answered, seeking.found] : [seeking.found]);
    seeking.end();
    if (current !== winner) current?.destroy();
    return winner;
  }

  #answerOn(socket: Socket, request: Buffer, onLost: () => void): Promise<Socket> {
    return new Promise((resolve) => {
      let received = Buffer.alloc(0);
      socket.removeAllListeners();
      socket.on("error", onLost).on("close", onLost);
      socket.on("data", (chunk: Buffer) => {
        received = Buffer.concat([received, chunk]);
        if (this.#protocol.isAnswer(received)) resolve(socket);
      });
      if (socket.destroyed) onLost();
      else socket.write(request);
    });
  }
}

const probe = new Probe(workerData as ProbeOptions);
parentPort?.on("message", () => {
  const samples: ProbeSamples = { sent: Float64Array.from(probe.sent), answered: Float64Array.from(probe.answered) };
  parentPort?.postMessage(samples);
});
await probe.run();
