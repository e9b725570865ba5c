/** Registered nodes, with their tokens: nothing of this table goes out as it is. */
import type { DatabaseSync } from "node:sqlite";
import { z } from "zod";
import { nodeNameSchema } from "../../shared/contracts/common.ts";
import { putNodeSchema } from "../../shared/contracts/planner.ts";
import type { Guard } from "./store.ts";

const storedNodeSchema = putNodeSchema.extend({ name: nodeNameSchema });
/** A node as it was registered. */
export type StoredNode = z.infer<typeof storedNodeSchema>;

export interface NodeTable {
  list(): StoredNode[];
  get(name: string): StoredNode | undefined;
  put(node: StoredNode): void;
  /** False when there was none. */
  delete(name: string): boolean;
}

export function createNodeTable(db: DatabaseSync, guard: Guard): NodeTable {
  const all = db.prepare("SELECT record FROM nodes ORDER BY name");
  const one = db.prepare("SELECT record FROM nodes WHERE name = ?");
  const upsert = db.prepare(
    "INSERT INTO nodes (name, record) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET record = excluded.record",
  );
  const remove = db.prepare("DELETE FROM nodes WHERE name = ?");
  const read = (row: Record<string, unknown>): StoredNode => storedNodeSchema.parse(JSON.parse(String(row["record"])));
  return {
    list: () => guard("listing nodes", () => all.all().map(read)),
    get: (name) =>
      guard("reading a node", () => {
        const row = one.get(name);
        return row === undefined ? undefined : read(row);
      }),
    put: (node) => guard("writing a node", () => void upsert.run(node.name, JSON.stringify(node))),
    delete: (name) => guard("removing a node", () => remove.run(name).changes > 0),
  };
}
