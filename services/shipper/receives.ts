/** The destination's receives, by migration id. */
import type { CreateReceive } from "../shared/contracts/shipper.ts";
import { DmigrateError } from "../shared/errors.ts";
import { Receive, removeReceived, type ReceiveDeps } from "./receive.ts";

interface Kept {
  receive: Receive;
  connected: Promise<void>;
}

export class Receives {
  readonly #receives = new Map<string, Kept>();
  readonly #deps: ReceiveDeps;

  constructor(deps: ReceiveDeps) {
    this.#deps = deps;
  }

  /** Connects. A repeated request waits for the same connection; another one of the same id is a `conflict`. */
  async create(request: CreateReceive): Promise<Receive> {
    const { migrationId } = request;
    const there = this.#receives.get(migrationId);
    if (there !== undefined && !there.receive.isSame(request))
      throw new DmigrateError("conflict", `receive ${migrationId} exists already, with other parameters`);
    const { receive, connected } = there ?? this.#begin(request);
    await connected;
    return receive;
  }

  get(migrationId: string): Receive {
    const kept = this.#receives.get(migrationId);
    if (kept === undefined) throw new DmigrateError("not-found", `there is no receive ${migrationId} here`);
    return kept.receive;
  }

  /** False when there was none; what one of an earlier run has left is removed all the same. */
  async remove(migrationId: string): Promise<boolean> {
    const kept = this.#receives.get(migrationId);
    if (kept === undefined) {
      await removeReceived(this.#deps.stateDir, migrationId);
      return false;
    }
    await kept.receive.end();
    return this.#receives.delete(migrationId);
  }

  /** Closes every connection; what was received stays, for what may run on it. */
  async stop(): Promise<void> {
    await Promise.all([...this.#receives.values()].map(({ receive }) => receive.stop()));
    this.#receives.clear();
  }

  #begin(request: CreateReceive): Kept {
    const { migrationId } = request;
    const receive = new Receive(request, this.#deps);
    const kept: Kept = { receive, connected: receive.connect() };
    this.#receives.set(migrationId, kept);
    // One that never connected is as if it had not been asked for.
    kept.connected.catch(() => {
      if (this.#receives.get(migrationId) === kept) this.#receives.delete(migrationId);
    });
    return kept;
  }
}
