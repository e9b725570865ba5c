/** Looks at a container and both nodes, and says what a migration would be: its plan, and every reason against it. */
import type { NodeResources } from "../shared/contracts/common.ts";
import { nodeResourcesSchema } from "../shared/contracts/common.ts";
import { containerProfileSchema, type ContainerProfile } from "../shared/contracts/container.ts";
import type { CreateMigration, Plan } from "../shared/contracts/planner.ts";
import { restoreCheckSchema, type RestoreCheck } from "../shared/contracts/restorer.ts";
import type { LeftoverTable } from "./adapters/leftover-table.ts";
import type { NodeClients, NodePool } from "./adapters/node-clients.ts";
import { linkSpeed, type LinkSpeed, type MeasuredLink } from "./core/link-speed.ts";
import { computePlan } from "./core/plan.ts";
import { findRefusals, sharedBinds } from "./core/preflight.ts";
import { needsOf, type Needs } from "./core/room.ts";
import type { Links } from "./links.ts";
import type { Clock, Timing } from "./timing.ts";

export interface InspectDeps {
  pool: NodePool;
  leftovers: LeftoverTable;
  links: Links;
  clock: Clock;
  timing: Timing;
  /** Registries that destinations may pull from. */
  pullFrom: readonly string[];
}

export interface Inspection {
  plan: Plan;
  /** The plan once the link was measured, for a migration that has opened its connections by the plan before. */
  planAnew: (plan: Plan, link: MeasuredLink) => Plan;
  profile: ContainerProfile;
  source: NodeClients;
  destination: NodeClients;
  replaces: string | undefined;
  needs: Needs;
  /** Layers of the image that the destination has. */
  layersPresent: readonly string[];
  /** What the destination has. */
  resources: NodeResources;
}

/**
 * Only asks, touches nothing. Throws `not-found` for an unknown node or container, and what the nodes' services throw;
 * reasons why the container cannot move are not thrown, but in `plan.refusals`.
 */
export async function inspect(deps: InspectDeps, request: CreateMigration): Promise<Inspection> {
  const { pool, leftovers, timing, pullFrom } = deps;
  const source = pool.connect(request.from);
  const destination = pool.connect(request.to);
  const options = { timeoutMs: timing.callMs };
  const { moveBinds } = request;
  const query = moveBinds.map((path) => `moveBind=${encodeURIComponent(path)}`).join("&");
  const resourcesOf = ({ agent }: NodeClients): Promise<NodeResources> =>
    agent.get("/resources", nodeResourcesSchema, options);
  const [profile, here, there] = await Promise.all([
    source.dumper.get(`/containers/${request.container}${query && "?"}${query}`, containerProfileSchema, {
      timeoutMs: timing.profileMs,
    }),
    resourcesOf(source),
    resourcesOf(destination),
  ]);
  const replaces = leftovers.find(request.to, profile.spec.name);
  // On its own node the container's name is taken by itself: nothing to be learnt from asking there.
  const check: RestoreCheck =
    request.from === request.to
      ? { imagePresent: true, layersPresent: [], refusals: [] }
      : await destination.restorer.post(
          "/restores/check",
          {
            container: profile.spec,
            imageLayers: profile.imageLayers,
            moveBinds,
            sharedBinds: sharedBinds(profile.bindMounts, request.sharedPaths),
            ...(replaces !== undefined && { replaces }),
          },
          restoreCheckSchema,
          options,
        );
  const { layersPresent, places } = check;
  const shipImage = !check.imagePresent;
  const { from, to, mode } = request;
  const ends = { from, to, source: here, destination: there };
  const facts = {
    mode,
    source: here,
    destination: there,
    profile,
    shipImage,
    layersPresent: layersPresent.length,
    pullFrom,
  };
  const speed = (link: MeasuredLink | undefined): LinkSpeed => linkSpeed(ends, link, deps.clock.epoch());
  const refusals = findRefusals({
    ...ends,
    profile,
    mode,
    sharedPaths: request.sharedPaths,
    moveBinds,
    shipImage,
    places,
    destinationRefusals: check.refusals,
  });
  const plan: Plan = {
    container: profile.spec.name,
    containerId: profile.id,
    from,
    to,
    mode,
    ...computePlan({ ...facts, link: speed(deps.links.find(from, to)) }),
    shipImage,
    layersPresent: layersPresent.length,
    moveBinds,
    refusals,
  };
  const planAnew: Inspection["planAnew"] = (before, link) => ({
    ...before,
    ...computePlan({ ...facts, link: speed(link), open: before }),
  });
  const needs = needsOf({ profile, mode, shipImage, places, destination: there });
  return { plan, planAnew, profile, source, destination, replaces, needs, layersPresent, resources: there };
}
