/** The planner as a scheduler uses it: post a migration, follow it to its end. */
import { createClient, type ServiceClient } from "../../services/shared/client.ts";
import {
  migrationListSchema,
  migrationSchema,
  type CreateMigration,
  type Migration,
  type MigrationPhase,
} from "../../services/shared/contracts/planner.ts";
import { pollUntil } from "./poll-until.ts";

const ended = new Set<MigrationPhase>(["committed", "aborted", "refused", "failed"]);

export type MigrationRequest = Pick<CreateMigration, "container" | "from" | "to"> & Partial<CreateMigration>;

export class PlannerUser {
  readonly client: ServiceClient;

  constructor({ url, token }: { url: string; token: string }) {
    this.client = createClient("the planner", url, token);
  }

  post(request: MigrationRequest): Promise<Migration> {
    return this.client.post("/migrations", request, migrationSchema);
  }

  get(id: string): Promise<Migration> {
    return this.client.get(`/migrations/${id}`, migrationSchema);
  }

  cancel(id: string): Promise<Migration> {
    return this.client.delete(`/migrations/${id}`, migrationSchema);
  }

  async list(): Promise<Migration[]> {
    return (await this.client.get("/migrations", migrationListSchema)).migrations;
  }

  /** Waits until the migration has ended, however it did. */
  async waitForEnd(id: string, timeoutMs = 90_000): Promise<Migration> {
    return pollUntil(`the end of migration ${id}`, timeoutMs, async () => {
      const migration = await this.get(id);
      return ended.has(migration.phase) ? migration : undefined;
    });
  }

  /** Posts a migration and waits for its end, which must be `committed`. */
  async migrate(request: MigrationRequest): Promise<Migration> {
    const migration = await this.waitForEnd((await this.post(request)).id);
    if (migration.phase !== "committed")
      throw new Error(`the migration ended ${migration.phase}: ${migration.error?.message ?? ""}`);
    return migration;
  }
}
