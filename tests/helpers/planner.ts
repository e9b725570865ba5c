/** The planner as a scheduler uses it: post a migration, follow it to its end. */
import { createClient, type ServiceClient } from "../../services/shared/client.ts";
import {
  migrationListSchema,
  migrationSchema,
  type CreateMigration,
  type Migration,
} from "../../services/shared/contracts/planner.ts";
import { connectPlanner, type PlannerClient } from "../../services/cli/planner-client.ts";

export type MigrationRequest = Pick<CreateMigration, "container" | "from" | "to"> & Partial<CreateMigration>;

export class PlannerUser {
  readonly client: ServiceClient;
  readonly #planner: PlannerClient;

  constructor({ url, token }: { url: string; token: string }) {
    this.client = createClient("the planner", url, token);
    this.#planner = connectPlanner({ planner: url }, { DMIGRATE_TOKEN: token });
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

  /** Waits until the migration has ended, however it did: by its events, so that the planner is not kept busy by questions. */
  async waitForEnd(id: string, timeoutMs = 90_000): Promise<Migration> {
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      const events = this.#planner.events(id, { follow: true, signal })[Symbol.asyncIterator]();
      while ((await events.next()).done !== true);
    } catch (cause) {
      if (!signal.aborted) throw cause;
      throw new Error(`waited ${timeoutMs} ms in vain for the end of migration ${id}`, { cause });
    }
    return this.get(id);
  }

  /** Posts a migration and waits for its end, which must be `committed`. */
  async migrate(request: MigrationRequest): Promise<Migration> {
    const migration = await this.waitForEnd((await this.post(request)).id);
    if (migration.phase !== "committed")
      throw new Error(`the migration ended ${migration.phase}: ${migration.error?.message ?? ""}`);
    return migration;
  }
}
