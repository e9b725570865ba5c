/** Puts a checkpoint where a waiting runc looks for it. Synchronous: this is inside the downtime, and all in memory. */
import { linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { mendTimerfds } from "../../shared/core/criu/timerfd.ts";
import { DmigrateError, hasErrno } from "../../shared/errors.ts";
import { parentImagesName } from "../../shared/node-paths.ts";
import { externalNetworkImage, networkImageName } from "../core/network-image.ts";
import { descriptorsName } from "./gate.ts";

/** The root task's pid inside the container. */
const rootIds = "ids-1.img";
const filesName = "files.img";

/**
 * Links every image of `from` into `to`, mends what CRIU got wrong, and says where the network namespace comes from: `external` when runc has one
 * for CRIU. Returns descriptors.json's content. Throws `restore-failed` when there is no checkpoint.
 */
export function placeImages(from: string, to: string, external: boolean): Buffer {
  try {
    const entries = readdirSync(from, { withFileTypes: true });
    const names = entries.map(({ name }) => name);
    const network = networkImageName(readFileSync(join(from, rootIds)));
    // The source's own word on it is about the source.
    for (const name of names) {
      if (!name.endsWith(".img") || name === network) continue;
      if (name === filesName && placeMended(join(from, name), join(to, name))) continue;
      // No symbolic links: CRIU opens some images after it has changed its root. Both directories are in one file system.
      linkSync(join(from, name), join(to, name));
    }
    if (entries.some((entry) => entry.name === parentImagesName && entry.isDirectory())) placeParent(from, to);
    if (external && network !== undefined) writeFileSync(join(to, network), externalNetworkImage());
    return readFileSync(join(from, descriptorsName));
  } catch (error) {
    if (!hasErrno(error, "ENOENT")) throw error;
    throw new DmigrateError("restore-failed", `there is no complete checkpoint in ${from}`, { cause: error });
  }
}

function placeParent(from: string, to: string): void {
  const [source, target] = [join(from, parentImagesName), join(to, parentImagesName)];
  mkdirSync(target, { mode: 0o700 });
  for (const name of readdirSync(source)) if (name.endsWith(".img")) linkSync(join(source, name), join(target, name));
}

/** False, with nothing written, when there is no timer to mend. */
function placeMended(from: string, to: string): boolean {
  const { image, mended } = mendTimerfds(readFileSync(from));
  if (mended > 0) writeFileSync(to, image, { mode: 0o600 });
  return mended > 0;
}
