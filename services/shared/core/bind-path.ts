/**
 * Which directories of a host a migration may write to for a bind mount: only such as somebody made for data. Both nodes
 * ask, and none takes another's word for it.
 */

/** Of these neither the directory itself nor anything below it. */
const systemTrees = [
  ...["/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys", "/usr"],
  ...["/var/lib/containerd", "/var/lib/dmigrate", "/var/lib/docker", "/var/run"],
];
/** Of these the directory itself, not what is below. */
const shared = new Set([
  ...["/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp"],
  ...["/var", "/var/cache", "/var/lib", "/var/log", "/var/spool", "/var/tmp"],
]);

/** Why a bind mount's source must not be moved; undefined when it may. */
export function bindPathProblem(path: string): string | undefined {
  const parts = path.split("/").slice(1);
  const plain = path.startsWith("/") && parts.every((part) => part !== "" && part !== "." && part !== "..");
  if (!plain || path.includes("\0")) return "is not a plain absolute path";
  if (shared.has(path)) return "is a directory of the system, which holds more than one thing";
  const system = systemTrees.find((tree) => path === tree || path.startsWith(`${tree}/`));
  return system === undefined ? undefined : `is in ${system}, which belongs to the system`;
}

/** Whether one directory is the other, or lies in it. */
export const pathsOverlap = (a: string, b: string): boolean => isWithin(a, b) || isWithin(b, a);

const isWithin = (inner: string, outer: string): boolean => outer === "/" || `${inner}/`.startsWith(`${outer}/`);
