/** The image that tests, the demo and people migrate containers of: Debian with Redis and Perl. */

/** Its name in the nodes. The outer engine knows it under a tag of its content. */
export const workloadImage = "dmigrate-workload:latest";
