/**
 * How the source is told that the destination's file system takes no more: what has run out, for what, and what to do about it.
 * The kernel says ENOSPC for blocks and for inodes alike, so whoever looks at the file system says which it is.
 */
import { DmigrateError, hasErrno } from "../../shared/errors.ts";

/** What a file system can be short of. */
export type Shortage = "bytes" | "inodes";

const failed = (message: string, cause: unknown): DmigrateError =>
  new DmigrateError("transfer-failed", message, { cause });

/** There is no room for `where`, such as "volume data: /a/b". */
export const noRoom = (where: string, shortage: Shortage, cause?: unknown): DmigrateError =>
  shortage === "bytes"
    ? failed(`no room left for ${where}; make room and migrate again`, cause)
    : failed(
        `no inodes left for ${where}; remove files from that file system, or make it anew with more inodes, and migrate again`,
        cause,
      );

/** What the file system said about `where`, if that is that it takes no more. `shortage` is asked only where it does not tell. */
export function asNoRoom(
  error: unknown,
  where: string,
  shortage: () => Shortage = () => "bytes",
): DmigrateError | undefined {
  if (hasErrno(error, "ENOSPC")) return noRoom(where, shortage(), error);
  if (hasErrno(error, "EDQUOT"))
    return failed(`no disk quota left for ${where} (EDQUOT); raise the quota or make room and migrate again`, error);
  if (hasErrno(error, "EFBIG"))
    return failed(
      `${where} is larger than a file may be on the destination's file system, or by the agent's limit (EFBIG); ` +
        "raise the limit, or use another file system there",
      error,
    );
  return undefined;
}
