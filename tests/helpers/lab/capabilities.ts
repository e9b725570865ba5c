/**
 * What this machine's processes may do at most. Some sandboxes run everything without CAP_SYS_RESOURCE; there a privileged
 * container cannot start ("unable to apply caps") and CRIU cannot read other users' limits, so the lab adapts itself.
 */
import { readFileSync } from "node:fs";

const capSysResource = 24n;

/** Reads from a `/proc/PID/status` whether the bounding set holds CAP_SYS_RESOURCE. */
export function statusHasSysResource(status: string): boolean {
  const mask = /^CapBnd:\s*([0-9a-f]+)$/m.exec(status)?.[1];
  return mask === undefined || ((BigInt(`0x${mask}`) >> capSysResource) & 1n) === 1n;
}

/** Whether processes of this machine can hold CAP_SYS_RESOURCE. */
export function machineHasSysResource(): boolean {
  return statusHasSysResource(readFileSync("/proc/self/status", "utf8"));
}
