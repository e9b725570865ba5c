/** The source's transfers, by migration id. Those of an agent before this one are taken up where the drain needs them. */
import type { CreateTransfer } from "../shared/contracts/shipper.ts";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import type { Log } from "../shared/log.ts";
import { Transfer, type TransferDeps } from "./transfer.ts";

export class Transfers {
  readonly #transfers = new Map<string, Transfer>();
  readonly #deps: TransferDeps;

  constructor(deps: TransferDeps) {
    this.#deps = deps;
  }

  /** The destinations of these connect again by themselves, and ask for what they miss. */
  async recover(log: Log): Promise<void> {
    for (const { request, processes } of this.#deps.records.readAll()) {
      const { migrationId } = request;
      const transfer = new Transfer(request, this.#deps);
      this.#transfers.set(migrationId, transfer);
      try {
        await transfer.openMemory({ processes, announce: false });
        log.warn({ migrationId }, "serving the frozen memory of an earlier run");
      } catch (error) {
        log.error({ migrationId, reason: messageOf(error) }, "the frozen memory of an earlier run is lost");
        await transfer.loseMemory(messageOf(error));
      }
    }
  }

  /** A repeated request gets the transfer that is there; another one of the same id is a `conflict`. */
  create(request: CreateTransfer): Transfer {
    const { migrationId } = request;
    const there = this.#transfers.get(migrationId);
    if (there === undefined) {
      const transfer = new Transfer(request, this.#deps);
      this.#transfers.set(migrationId, transfer);
      return transfer;
    }
    if (there.isSame(request)) return there;
    throw new DmigrateError("conflict", `transfer ${migrationId} exists already, with other parameters`);
  }

  find(migrationId: string): Transfer | undefined {
    return this.#transfers.get(migrationId);
  }

  get(migrationId: string): Transfer {
    const transfer = this.#transfers.get(migrationId);
    if (transfer === undefined) throw new DmigrateError("not-found", `there is no transfer ${migrationId} here`);
    return transfer;
  }

  /** False when there was none. */
  remove(migrationId: string): boolean {
    this.#transfers.get(migrationId)?.end();
    this.#deps.records.remove(migrationId);
    return this.#transfers.delete(migrationId);
  }

  /** Closes everything; what an agent after this one must know stays. */
  stop(): void {
    for (const transfer of this.#transfers.values()) transfer.end();
    this.#transfers.clear();
  }
}
