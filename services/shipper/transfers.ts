/** The source's transfers, by migration id. */
import type { CreateTransfer } from "../shared/contracts/shipper.ts";
import { DmigrateError } from "../shared/errors.ts";
import { Transfer, type TransferDeps } from "./transfer.ts";

export class Transfers {
  readonly #transfers = new Map<string, Transfer>();
  readonly #deps: TransferDeps;

  constructor(deps: TransferDeps) {
    this.#deps = deps;
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
    return this.#transfers.delete(migrationId);
  }

  stop(): void {
    for (const migrationId of [...this.#transfers.keys()]) this.remove(migrationId);
  }
}
