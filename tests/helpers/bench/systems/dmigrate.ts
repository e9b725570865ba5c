/** (e) Dmigrate, in each mode that the planner takes. */
import { createMigrationSchema, migrationModeSchema } from "../../../../services/shared/contracts/planner.ts";
import { PlannerUser } from "../../planner.ts";
import { runOnSource } from "./docker.ts";
import { containerName, type System } from "./system.ts";

const systemNames: Readonly<Record<string, string>> = {
  "post-copy": "dmigrate",
  hybrid: "dmigrate-hybrid",
  "stop-and-copy": "dmigrate-stop-copy",
};

/** The systems that there are; a mode that this version does not have is left out. */
export const dmigrateSystems: readonly System[] = migrationModeSchema.options.map((mode) => ({
  name: systemNames[mode] ?? `dmigrate-${mode}`,
  copies: 2.5,
  exec: `docker exec ${containerName}`,
  start: runOnSource,
  migrate: async ({ lab, a }, _program, timeoutMs) => {
    const request = createMigrationSchema.parse({ container: containerName, from: "a", to: "b", mode });
    a.note(`planner$ POST /migrations ${JSON.stringify(request)}`);
    const user = new PlannerUser(lab.planner);
    const { id } = await user.post(request);
    const migration = await user.waitForEnd(id, timeoutMs);
    if (migration.phase !== "committed")
      throw new Error(`the migration ended ${migration.phase}: ${migration.error?.message ?? ""}`);
    const ms = migration.stages.find(({ name }) => name === "drain")?.ms;
    const windowBytes = migration.plan?.windowBytes;
    return ms === undefined
      ? undefined
      : { ms, bytes: migration.pagesTotal * 4096, ...(windowBytes !== undefined && { windowBytes }) };
  },
}));
