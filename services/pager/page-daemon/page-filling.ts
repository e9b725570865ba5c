/**
 * Fills in pages that are here: by a bulk thread, or by this one where threads wait for them or the other cannot. What the
 * memory is not ready for, or the system has no room for, is tried again until it is done.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { asDmigrateError, type DmigrateError } from "../../shared/errors.ts";
import type { EarlyRun } from "../core/early-pages.ts";
import type { Placement } from "../core/placement.ts";
import type { AddressSpaces } from "./address-spaces.ts";
import { Attempts } from "./attempts.ts";
import type { BulkLanes } from "./bulk-lanes.ts";

export interface PageFillingOptions {
  bulk: BulkLanes;
  spaces: AddressSpaces;
  /** Hears what the kernel has to tell just now. */
  hear: () => void;
  onFailure: (error: DmigrateError) => void;
}

export class PageFilling {
  readonly #options: PageFillingOptions;
  /** By one count with what else is done about pages that have arrived: that it goes on failing is told once. */
  readonly attempts: Attempts;

  constructor(options: PageFillingOptions) {
    this.#options = options;
    this.attempts = new Attempts((error) =>
      options.onFailure(asDmigrateError(error, "restore-failed", "pages that arrived cannot be filled in")),
    );
  }

  /** Fills runs in at once. False: to be tried again, after a pause; what is filled by then is passed over. */
  fill(runs: readonly EarlyRun[]): boolean {
    const { hear, spaces } = this.#options;
    let isDone = false;
    this.attempts.make(() => {
      // What waits to be heard would hinder the copying; and a fault is not to wait for it.
      hear();
      isDone = runs.every((run) => spaces.fill(run));
      if (!isDone) hear();
    });
    return isDone;
  }

  /** Resolves once they are filled in. */
  async fillLater(runs: readonly EarlyRun[]): Promise<void> {
    do await sleep(this.attempts.pauseMs);
    while (!this.fill(runs));
  }

  /** Has a run filled in by a bulk thread; what that cannot do is done here. */
  fillBehind(run: EarlyRun, onDone: () => void): void {
    const { spaces, bulk } = this.#options;
    let placement: Placement | undefined;
    this.attempts.make(() => (placement = spaces.place(run.pid, [run])));
    if (placement === undefined) {
      void this.fillLater([run]).then(onDone);
      return;
    }
    if (placement.places.length === 0) {
      onDone();
      return;
    }
    bulk.fill(run, placement, (result) => {
      this.attempts.make(() => spaces.noteFilled(result));
      if (result.outcome === "whole") onDone();
      else if (result.outcome === "stale") this.fillBehind(run, onDone);
      else if (this.fill([run])) onDone();
      else void this.fillLater([run]).then(onDone);
    });
  }
}
