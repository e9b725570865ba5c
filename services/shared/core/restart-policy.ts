/** Docker's restart policies. Pure. */
import type { RestartPolicy } from "../contracts/common.ts";

/** Whether Docker would start a container again that has ended by itself with this code. */
export const isRestarted = ({ Name }: Pick<RestartPolicy, "Name">, exitCode: number): boolean =>
  Name === "always" || Name === "unless-stopped" || (Name === "on-failure" && exitCode !== 0);
