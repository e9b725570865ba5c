/** What is known of the ways from one node to another: what the last probe measured, and what a migration met since. */
import type { DatabaseSync } from "node:sqlite";
import type { MeasuredLink } from "../core/link-speed.ts";
import type { Guard } from "./store.ts";

export interface LinkTable {
  find(from: string, to: string): MeasuredLink | undefined;
  put(from: string, to: string, link: MeasuredLink): void;
  /** Of all ways from and to the node: it may be another machine by now. */
  forget(node: string): void;
}

export const linkSchema = `
  CREATE TABLE links (
    from_node TEXT NOT NULL, to_node TEXT NOT NULL,
    bytes_per_second REAL NOT NULL, measured_at INTEGER NOT NULL, met_bytes_per_second REAL,
    PRIMARY KEY (from_node, to_node)
  ) STRICT, WITHOUT ROWID;
`;

export function createLinkTable(db: DatabaseSync, guard: Guard): LinkTable {
  const one = db.prepare(
    "SELECT bytes_per_second, measured_at, met_bytes_per_second FROM links WHERE from_node = ? AND to_node = ?",
  );
  const upsert = db.prepare("INSERT OR REPLACE INTO links VALUES (?, ?, ?, ?, ?)");
  const remove = db.prepare("DELETE FROM links WHERE from_node = ? OR to_node = ?");
  return {
    find: (from, to) =>
      guard("reading a link", () => {
        const row = one.get(from, to);
        if (row === undefined) return undefined;
        const met = row["met_bytes_per_second"];
        return {
          bytesPerSecond: Number(row["bytes_per_second"]),
          measuredAt: Number(row["measured_at"]),
          ...(met !== null && { metBytesPerSecond: Number(met) }),
        };
      }),
    put: (from, to, { bytesPerSecond, measuredAt, metBytesPerSecond }) =>
      guard("writing a link", () => {
        upsert.run(from, to, bytesPerSecond, Math.round(measuredAt), metBytesPerSecond ?? null);
      }),
    forget: (node) => guard("removing links", () => void remove.run(node, node)),
  };
}
