/** Compares dotted version numbers. */

/** True when `version` ("4.2.1", "4.2-rc1") is `least` or newer; false when it is not a version. */
export function isAtLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const match = /^v?(\d+)\.(\d+)/.exec(version);
  if (match === null) return false;
  const [have, haveMinor] = [Number(match[1]), Number(match[2])];
  return have > major || (have === major && haveMinor >= minor);
}
