/** Owner, mode, extended attributes and times of an entry that was written. */
import {
  changeMode,
  changeOwner,
  changeTimes,
  listAttributes,
  removeAttribute,
  setAttribute,
  statDescriptor,
} from "../../shared/adapters/linux.ts";
import type { Attributes } from "../../shared/core/frames/attributes.ts";
import { hasErrno } from "../../shared/errors.ts";

export interface Extended {
  name: Buffer;
  value: Buffer;
}

/** The mode without the type. */
export const permissionBits = 0o7777;

/** Labels are each host's own affair, EVM's seals are keyed to the host: they neither leave nor go. */
export const hostAttributes: ReadonlySet<string> = new Set(["security.selinux", "security.evm"]);

/**
 * Sets what is not so already. The order matters: a change of owner clears set-uid bits and capabilities, and anything
 * later would change times.
 */
export function setAll(fd: number, { attributes, extended }: { attributes: Attributes; extended: Extended[] }): void {
  const { uid, gid } = attributes;
  const mode = attributes.mode & permissionBits;
  const now = statDescriptor(fd);
  const owned = now.uid === uid && now.gid === gid;
  if (!owned) changeOwner(fd, uid, gid);
  if (!owned || (now.mode & permissionBits) !== mode) changeMode(fd, mode);
  for (const { name, value } of extended) setAttribute(fd, name, value);
  changeTimes(fd, attributes.access, attributes.modify);
}

/** Takes off what an entry that was here before has, and the source's has not. */
export function dropUnwanted(fd: number, wanted: readonly Extended[]): void {
  const keep = new Set(wanted.map(({ name }) => name.toString("latin1")));
  for (const name of listAttributes(fd)) {
    const text = name.toString("latin1");
    if (!keep.has(text) && !hostAttributes.has(text) && !text.startsWith("trusted.overlay.")) removeAttribute(fd, name);
  }
}

/** Takes one attribute off, if it is there. */
export function dropAttribute(fd: number, name: Buffer): void {
  try {
    removeAttribute(fd, name);
  } catch (error) {
    if (!hasErrno(error, "ENODATA", "ENOTSUP", "EOPNOTSUPP")) throw error;
  }
}
