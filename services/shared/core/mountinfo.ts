/** /proc/PID/mountinfo (proc_pid_mountinfo(5)), as far as we need it. */

export interface Mount {
  /** As the process sees it. */
  mountPoint: string;
  /** Of the file system: "tmpfs", "cgroup" … */
  type: string;
  /** This mount is, whatever its file system is. */
  readOnly: boolean;
  /** Of the file system, as they were given: "lowerdir=/a:/b,upperdir=/c". */
  options: string[];
}

export function parseMountinfo(text: string): Mount[] {
  return text.split("\n").flatMap((line) => {
    const fields = line.split(" ");
    const [mountPoint, options] = fields.slice(4);
    // Optional fields come before a lone dash.
    const [type, , ofFileSystem = ""] = fields.slice(fields.indexOf("-", 6) + 1);
    if (mountPoint === undefined || options === undefined || type === undefined) return [];
    return [
      {
        mountPoint: unescape(mountPoint),
        type,
        readOnly: options.split(",").includes("ro"),
        options: unescape(ofFileSystem).split(","),
      },
    ];
  });
}

/** White space and backslashes are written in octal. */
const unescape = (path: string): string =>
  path.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

/**
 * The directories that an overlay mount merges, the uppermost lower one first; undefined for another mount, or a read-only one.
 * containerd gives lower ones as names in the directory that has all of its snapshots, where there are too many for whole paths.
 */
export function overlayDirectories({ type, options }: Mount): { upper: string; lowers: string[] } | undefined {
  if (type !== "overlay") return undefined;
  const valuesOf = (...keys: string[]): string[] =>
    options.flatMap((option) => {
      const at = option.indexOf("=");
      return keys.includes(option.slice(0, at)) ? [option.slice(at + 1)] : [];
    });
  const [upper] = valuesOf("upperdir");
  if (upper?.startsWith("/") !== true) return undefined;
  const snapshots = upper.replace(/(?:\/[^/]+){2}$/, "");
  const lowers = valuesOf("lowerdir", "lowerdir+").flatMap((value) => value.split(":"));
  return { upper, lowers: lowers.map((lower) => (lower.startsWith("/") ? lower : `${snapshots}/${lower}`)) };
}
