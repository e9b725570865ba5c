/**
 * The two header layouts of CRIU's page-server protocol, both little-endian. CRIU 4.2 widened the page count to 64 bits,
 * which moved every later field; nothing on the wire tells which one is spoken, only CRIU's version does.
 *
 *     before 4.2, 24 bytes:   u32 command | u32 pages | u64 vaddr | u64 id
 *     from 4.2,   32 bytes:   u32 command | 4 bytes of padding, arbitrary | u64 pages | u64 vaddr | u64 id
 */
export const layouts = {
  compact: { headerBytes: 24, pagesAt: 4, vaddrAt: 8, idAt: 16 },
  wide: { headerBytes: 32, pagesAt: 8, vaddrAt: 16, idAt: 24 },
} as const;

export type LayoutName = keyof typeof layouts;

export interface CriuVersion {
  major: number;
  minor: number;
}

/** Reads the output of `criu --version`; undefined when it names no version. */
export function parseCriuVersion(text: string): CriuVersion | undefined {
  const match = /Version:\s*(\d+)\.(\d+)/.exec(text);
  return match ? { major: Number(match[1]), minor: Number(match[2]) } : undefined;
}

export function isAtLeast({ major, minor }: CriuVersion, wanted: CriuVersion): boolean {
  return major > wanted.major || (major === wanted.major && minor >= wanted.minor);
}

/** The layout that this CRIU speaks. */
export function layoutOf(version: CriuVersion): LayoutName {
  return isAtLeast(version, { major: 4, minor: 2 }) ? "wide" : "compact";
}
