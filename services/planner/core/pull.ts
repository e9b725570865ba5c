/** Whether a missing image is pulled from a registry. Pure. */

/**
 * How long a pull is alone. How fast a registry is nobody knows before; so an image that has not come by then is sent as well,
 * and what is there first counts.
 */
export const pullHeadStartMs = 2_000;

export interface PullInput {
  shipImage: boolean;
  profile: { repoDigests: readonly string[] };
  /** Registries that the operator allows. */
  pullFrom: readonly string[];
}

export function planPull({ shipImage, profile, pullFrom }: PullInput): { ref?: string; reason: string } {
  const { repoDigests } = profile;
  if (!shipImage) return { reason: "the image is there" };
  if (repoDigests.length === 0) return { reason: "image is sent: no registry is known to have it" };
  const ref = repoDigests.find((each) => pullFrom.includes(registryOf(each)));
  if (ref === undefined) {
    const registries = [...new Set(repoDigests.map(registryOf))].join(", ");
    return {
      reason: `image is sent: pulling it from ${registries} is not allowed (DMIGRATE_PULL_FROM of the planner)`,
    };
  }
  return {
    ref,
    reason:
      `image is pulled as ${ref}; unless it is there after ${pullHeadStartMs / 1000} s it is sent as well, since nobody ` +
      "knows how fast the registry is, and what is there first counts",
  };
}

/** As Docker reads references: without a host in front it is Docker Hub's. */
export function registryOf(ref: string): string {
  const [first = "", ...rest] = ref.split("/");
  return rest.length > 0 && (/[.:]/.test(first) || first === "localhost") ? first : "docker.io";
}
