/** /proc/PID/mountinfo (proc_pid_mountinfo(5)), as far as a dump needs it. */

export interface Mount {
  /** As the process sees it. */
  mountPoint: string;
  /** Of the file system: "tmpfs", "cgroup" … */
  type: string;
  /** This mount is, whatever its file system is. */
  readOnly: boolean;
}

export function parseMountinfo(text: string): Mount[] {
  return text.split("\n").flatMap((line) => {
    const fields = line.split(" ");
    const [mountPoint, options] = fields.slice(4);
    // Optional fields come before a lone dash.
    const type = fields[fields.indexOf("-", 6) + 1];
    if (mountPoint === undefined || options === undefined || type === undefined) return [];
    return [{ mountPoint: unescape(mountPoint), type, readOnly: options.split(",").includes("ro") }];
  });
}

/** White space and backslashes are written in octal. */
const unescape = (path: string): string =>
  path.replaceAll(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
