/**
 * Names by which dump and restore agree on what the images leave out. Of what runc leaves out (bind mounts, devices) the
 * name is the mount point.
 */

/** An empty directory that nobody can write to; `externalMount` says where the destination has one. */
export const emptyMountName = "dmigrate-empty";

/** A line of CRIU's configuration file. */
export const externalMount = (name: string, path: string): string => `external mnt[${name}]:${path}`;

/** runc's name for a network namespace that was there before the container. */
export const networkName = "extRootNetNS";
