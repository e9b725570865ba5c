/** A job of trees on the destination: routes each tree's records to where that tree belongs here. */
import { statfsSync } from "node:fs";
import { close, descriptorPath, openTrustedDirectory } from "../../shared/adapters/linux.ts";
import type { JobDone, TreeName } from "../../shared/core/frames/job-message.ts";
import { FrameError } from "../../shared/core/frames/frame.ts";
import { noSmallFile } from "../../shared/core/frames/small-file.ts";
import { RecordReader, type TreeRecord } from "../../shared/core/frames/tree-record.ts";
import { DmigrateError, messageOf } from "../../shared/errors.ts";
import { asNoRoom, noRoom } from "../core/no-room.ts";
import { breathe } from "./breathe.ts";
import { LayerLeftovers } from "./layer-leftovers.ts";
import { Origins } from "./origins.ts";
import { RoomGuard } from "./room-guard.ts";
import { smallFrame, type SmallFrame } from "./small-files.ts";
import { TreeWriter } from "./tree-writer.ts";

/** Where a tree is written to on this node. */
export interface TreePlace {
  path: string;
  /** Of a writable layer: what lies under the merged directory. */
  layer: { upper: string; lowers: readonly string[] } | undefined;
  keepAttributes: boolean;
  /** Messages name the tree by it. */
  label: string;
}

interface OpenTree {
  place: TreePlace;
  rootFd: number;
  leftovers: LayerLeftovers | undefined;
  writer: TreeWriter;
  room: RoomGuard;
}

const overlayMagic = 0x794c7630;

export class TreesJob {
  readonly #trees: readonly TreeName[];
  readonly #find: (tree: TreeName) => Promise<TreePlace>;
  readonly #signal: AbortSignal;
  #open: OpenTree | undefined;
  readonly #small = noSmallFile();
  readonly #origins = new Origins();
  #files = 0;
  #aborted = false;

  constructor(trees: readonly TreeName[], find: (tree: TreeName) => Promise<TreePlace>, signal: AbortSignal) {
    this.#trees = trees;
    this.#find = find;
    this.#signal = signal;
  }

  /** Applies a frame of records. Throws what can be told to the source. */
  async write(payload: Buffer, release: () => void): Promise<void> {
    await this.#applyAll(payload);
    // The last chunk may still be on its way into its file.
    const writing = this.#open?.writer.writing;
    if (writing === undefined) release();
    else void writing.then(release, release);
  }

  async #applyAll(payload: Buffer): Promise<void> {
    const reader = new RecordReader(payload);
    const frame = smallFrame(payload);
    while (!reader.done) {
      const pause = breathe(this.#signal);
      if (pause !== undefined) await pause;
      if (reader.small(this.#small)) {
        this.#applySmall(frame);
        continue;
      }
      const record = reader.record();
      const wait = record.type === "tree" ? this.#begin(record) : this.#apply(record);
      if (wait !== undefined) await wait;
    }
  }

  async finish(): Promise<JobDone> {
    await this.#end();
    this.#origins.close();
    const missing = [...this.#origins.missing];
    return { files: this.#files, ...(missing.length > 0 && { missing }) };
  }

  /** Closes what is open; what was written stays. */
  async abort(): Promise<void> {
    this.#aborted = true;
    await this.#close();
    this.#origins.close();
  }

  async #close(): Promise<void> {
    const tree = this.#open;
    this.#open = undefined;
    if (tree === undefined) return;
    await tree.writer.dispose();
    tree.leftovers?.close();
    close(tree.rootFd);
  }

  async #begin({ index }: Extract<TreeRecord, { type: "tree" }>): Promise<void> {
    await this.#end();
    const name = this.#trees[index];
    if (name === undefined) throw new FrameError(`a tree ${index} that the job does not have`);
    const place = await this.#find(name);
    if (this.#aborted) throw new DmigrateError("cancelled", "the job was ended");
    const rootFd = openTrustedDirectory(place.path);
    this.#origins.noteTree(index, place.path);
    let leftovers: LayerLeftovers | undefined;
    try {
      if (place.layer !== undefined && statfsSync(descriptorPath(rootFd)).type !== overlayMagic)
        throw new DmigrateError(
          "conflict",
          `${place.path} is not mounted: the container is not waiting for its restore`,
        );
      if (place.layer !== undefined) leftovers = new LayerLeftovers(place.layer.upper, place.layer.lowers);
      const writer = new TreeWriter({
        rootFd,
        rootPath: place.path,
        leftovers,
        keepAttributes: place.keepAttributes,
        origins: this.#origins,
      });
      this.#open = { place, rootFd, leftovers, writer, room: new RoomGuard(descriptorPath(rootFd)) };
    } catch (error) {
      leftovers?.close();
      close(rootFd);
      throw error;
    }
  }

  #applySmall(frame: SmallFrame): void {
    const tree = this.#openTree();
    this.#claimRoom(tree, this.#small.dataBytes, 1);
    try {
      tree.writer.applySmall(frame, this.#small);
    } catch (error) {
      throw this.#explain(error, tree);
    }
  }

  #openTree(): OpenTree {
    if (this.#open === undefined) throw new FrameError("a record outside any tree");
    return this.#open;
  }

  #apply(record: TreeRecord): Promise<void> | undefined {
    const tree = this.#openTree();
    this.#claimRoom(tree, bytesOf(record), "name" in record ? 1 : 0);
    try {
      return tree.writer.apply(record)?.catch((error: unknown) => {
        throw this.#explain(error, tree);
      });
    } catch (error) {
      throw this.#explain(error, tree);
    }
  }

  async #end(): Promise<void> {
    const tree = this.#open;
    if (tree === undefined) return;
    if (!tree.writer.finished) throw new FrameError("a tree ended before its root was left");
    this.#files += tree.writer.files;
    await this.#close();
  }

  #explain(error: unknown, { place, writer, room }: OpenTree): unknown {
    if (error instanceof DmigrateError || error instanceof FrameError) return error;
    const where = `${place.label}: ${writer.where()}`;
    return (
      asNoRoom(error, where, () => room.shortageNow()) ??
      new DmigrateError("transfer-failed", `${where} could not be written: ${messageOf(error)}`, { cause: error })
    );
  }

  #claimRoom({ room, place, writer }: OpenTree, bytes: number, entries: number): void {
    const shortage = room.shortageAfter(bytes, entries);
    if (shortage !== undefined) throw noRoom(`${place.label}: ${writer.where()}`, shortage);
  }
}

/** What a record makes of the disk: a few bytes may stand for many. */
function bytesOf(record: TreeRecord): number {
  if (record.type === "chunk") return record.bytes.length;
  return record.type === "zeros" || record.type === "copy" || record.type === "same" ? record.length : 0;
}
