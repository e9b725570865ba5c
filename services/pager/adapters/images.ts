/** Reads from a migration's images which pages of which processes are lazy. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { decodeInventory, decodeLazyRanges, decodePstree } from "../../shared/core/criu/process-images.ts";
import { asDmigrateError, DmigrateError, hasErrno } from "../../shared/errors.ts";
import { chunksOf, mostChunks } from "../core/page-set.ts";
import type { ProcessPages } from "../page-server.ts";

const knownImgVersion = 2;

/** Every process of the images that has memory. Throws `restore-failed` when they are not CRIU's, or not whole. */
export async function readLazyPages(imagesDir: string): Promise<ProcessPages[]> {
  try {
    const { imgVersion } = decodeInventory(await readFile(join(imagesDir, "inventory.img")));
    if (imgVersion !== knownImgVersion)
      throw new DmigrateError("restore-failed", `the images have CRIU's format ${imgVersion}, not ${knownImgVersion}`);
    const processes = decodePstree(await readFile(join(imagesDir, "pstree.img")));
    const pages = await Promise.all(processes.map(({ pid }) => readProcess(imagesDir, pid)));
    const chunks = pages.reduce((sum, { ranges }) => sum + chunksOf(ranges), 0);
    if (chunks > mostChunks)
      throw new DmigrateError(
        "restore-failed",
        "the images name pages in more than 8 TiB of address space, which no pager here can note; is the source sound?",
      );
    return pages.filter(({ ranges }) => ranges.length > 0);
  } catch (error) {
    throw asDmigrateError(error, "restore-failed", `the CRIU images in ${imagesDir} cannot be used`);
  }
}

async function readProcess(imagesDir: string, pid: number): Promise<ProcessPages> {
  try {
    return { pid, ranges: decodeLazyRanges(await readFile(join(imagesDir, `pagemap-${pid}.img`))) };
  } catch (error) {
    // A zombie has no memory, hence no pagemap.
    if (hasErrno(error, "ENOENT")) return { pid, ranges: [] };
    throw error;
  }
}
