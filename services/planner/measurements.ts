/** What the planner tells Prometheus about migrations. */
import { Counter, Gauge, Histogram, type Registry } from "prom-client";
import type { Migration } from "../shared/contracts/planner.ts";

export interface Measurements {
  ended(migration: Migration): void;
}

export function createMeasurements(registry: Registry, countActive: () => number): Measurements {
  const registers = [registry];
  const outcomes = new Counter({
    name: "dmigrate_migrations_total",
    help: "Migrations that have ended, by their last phase",
    labelNames: ["outcome"],
    registers,
  });
  const downtime = new Histogram({
    name: "dmigrate_downtime_seconds",
    help: "From the freeze of the source to the resume at the destination",
    buckets: [0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2, 5, 10],
    registers,
  });
  const bytes = new Counter({ name: "dmigrate_bytes_sent_total", help: "Bytes that left the sources", registers });
  new Gauge({
    name: "dmigrate_migrations_active",
    help: "Migrations under way",
    registers,
    collect() {
      this.set(countActive());
    },
  });
  return {
    ended: ({ phase, downtimeMs, bytesSent }) => {
      outcomes.inc({ outcome: phase });
      bytes.inc(bytesSent);
      if (downtimeMs !== undefined) downtime.observe(downtimeMs / 1000);
    },
  };
}
