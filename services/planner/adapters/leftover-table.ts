/**
 * Source containers that committed migrations left stopped. When the container of that name comes back to the node, the
 * restorer may move its old self out of the way; any other container of the name is a conflict.
 */
import type { DatabaseSync } from "node:sqlite";
import type { Guard } from "./store.ts";

export interface Leftover {
  node: string;
  /** Name of the container. */
  name: string;
  containerId: string;
}

export interface LeftoverTable {
  find(node: string, name: string): string | undefined;
  put(leftover: Leftover): void;
  delete(node: string, name: string): void;
}

export function createLeftoverTable(db: DatabaseSync, guard: Guard): LeftoverTable {
  const one = db.prepare("SELECT container_id FROM leftovers WHERE node = ? AND name = ?");
  const upsert = db.prepare(
    `INSERT INTO leftovers (node, name, container_id) VALUES (?, ?, ?)
     ON CONFLICT (node, name) DO UPDATE SET container_id = excluded.container_id`,
  );
  const remove = db.prepare("DELETE FROM leftovers WHERE node = ? AND name = ?");
  return {
    find: (node, name) =>
      guard("reading leftovers", () => {
        const row = one.get(node, name);
        return row === undefined ? undefined : String(row["container_id"]);
      }),
    put: ({ node, name, containerId }) => guard("writing leftovers", () => void upsert.run(node, name, containerId)),
    delete: (node, name) => guard("removing leftovers", () => void remove.run(node, name)),
  };
}
