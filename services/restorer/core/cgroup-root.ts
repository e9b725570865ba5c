/**
 * Where runc makes a container's control group of version 2, from the bundle's `linux.cgroupsPath`. CRIU would put the
 * processes back where they were on the source: into a group by the id that the container had there, which Docker here knows
 * nothing of. For groups of version 1 runc tells CRIU where they belong; for those of version 2 it does not.
 */
import { DmigrateError } from "../../shared/errors.ts";

/** Whether a line of CRIU's configuration can hold it. */
export const isPlainPath = (path: string): boolean => /^\/[\w./:@\\-]*$/.test(path) && !path.split("/").includes("..");

/**
 * The group's path, from the root of the hierarchy. Two forms: a path, where Docker keeps control groups itself; and
 * `slice:prefix:name`, where systemd does (systemd.slice(5), systemd.scope(5)). Throws `restore-failed` on any other.
 */
export function cgroupRootOf(cgroupsPath: string): string {
  const path = cgroupsPath.startsWith("/") ? cgroupsPath : scopeOf(cgroupsPath);
  if (path === undefined || !isPlainPath(path))
    throw new DmigrateError(
      "restore-failed",
      `the container's control group "${cgroupsPath}" has no path that CRIU could be told`,
    );
  return path;
}

function scopeOf(cgroupsPath: string): string | undefined {
  const [slice, prefix, name, ...others] = cgroupsPath.split(":");
  if (slice === undefined || prefix === undefined || name === undefined || others.length > 0) return undefined;
  const unit = name.endsWith(".slice") ? name : `${prefix}-${name}.scope`;
  return `${slicePath(slice === "" ? "system.slice" : slice)}/${unit}`;
}

/** `a-b.slice` lies in `a.slice`. */
function slicePath(slice: string): string {
  const names = slice.replace(/\.slice$/, "").split("-");
  if (slice === "-.slice") return "";
  return names.map((_name, at) => `/${names.slice(0, at + 1).join("-")}.slice`).join("");
}
