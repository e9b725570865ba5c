/**
 * Where a migration's state lies on a node. The runtime wrapper (deploy/dmigrate-runc) knows the same layout.
 *
 *     <stateDir>/migrations/<migrationId>/images/     CRIU images: written by the dump, or received
 *     <stateDir>/migrations/<migrationId>/images/parent/   destination: what of them was sent before the freeze
 *     <stateDir>/migrations/<migrationId>/sealed      source: the checkpoint is sealed, so the images are complete
 *     <stateDir>/migrations/<migrationId>/received    destination: all images are there
 *     <stateDir>/migrations/<migrationId>/mounted     destination: id of the container, whose files are mounted
 *     <stateDir>/migrations/<migrationId>/work        CRIU's work directory: logs, lazy-pages.socket
 *     <stateDir>/migrations/<migrationId>/log-pass.json   destination: bytes of the container's log come just now
 *     <stateDir>/containers/<containerId>/            destination: tells the wrapper to restore this container
 *     <stateDir>/empty                                destination: a read-only, empty tmpfs, which the wrapper mounts
 *     <stateDir>/checkpoints/<migrationId>.json       source: what became of a checkpoint, kept for a day
 *     <stateDir>/transfers/<migrationId>.json         source: whose frozen memory is served, and by which secret
 *     <stateDir>/restores/<migrationId>.json          destination: what was done to bring the container up
 *     <stateDir>/pagers/<migrationId>.json            destination: whose page daemon works in the migration's work/
 */
import { join } from "node:path";

export interface MigrationPaths {
  dir: string;
  imagesDir: string;
  workDir: string;
  sealedMark: string;
  receivedMark: string;
  mountedMark: string;
}

/** Where CRIU looks for the images of an earlier dump, in the directory of its images. */
export const parentImagesName = "parent";

export const migrationsDir = (stateDir: string): string => join(stateDir, "migrations");

export function migrationPaths(stateDir: string, migrationId: string): MigrationPaths {
  const dir = join(migrationsDir(stateDir), migrationId);
  return {
    dir,
    imagesDir: join(dir, "images"),
    workDir: join(dir, "work"),
    sealedMark: join(dir, "sealed"),
    receivedMark: join(dir, "received"),
    mountedMark: join(dir, "mounted"),
  };
}

export function restoreSpecDir(stateDir: string, containerId: string): string {
  return join(stateDir, "containers", containerId);
}

export const emptyDirectory = (stateDir: string): string => join(stateDir, "empty");
