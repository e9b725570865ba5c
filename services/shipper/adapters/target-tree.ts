import type { LayerLeftovers } from "./layer-leftovers.ts";
import type { Origins } from "./origins.ts";

/** A tree to write: its root stays the caller's. */
export interface TargetTree {
  rootFd: number;
  /** Where the root is; trusted. */
  rootPath: string;
  /** Of a writable layer: its directory is not the one that is written to. */
  leftovers: LayerLeftovers | undefined;
  /** Owner, mode, attributes and times are set as sent; otherwise there are contents only, in files and directories. */
  keepAttributes: boolean;
  /** Of the job: its trees share them. */
  origins: Origins;
}
