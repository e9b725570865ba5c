/** Version numbers as CRIU and kernels print them: `4.2.1`, `6.18.0-rc3+`. */

export interface Version {
  major: number;
  minor: number;
}

/** Reads major and minor; undefined for text that begins with no version. */
export function parseVersion(text: string): Version | undefined {
  const match = /^v?(\d{1,6})\.(\d{1,6})/.exec(text.trim());
  if (match === null) return undefined;
  return { major: Number(match[1]), minor: Number(match[2]) };
}

/** Negative when `a` is older than `b`. Patch levels change no formats, so they do not count. */
export const compareVersions = (a: Version, b: Version): number => a.major - b.major || a.minor - b.minor;

export const isOlder = (a: Version, b: Version): boolean => compareVersions(a, b) < 0;
