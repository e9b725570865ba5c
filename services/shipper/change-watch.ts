/**
 * Notes which files of some trees change, from before they are first looked at: what was not noted has not changed, so
 * the pass inside the freeze looks at nothing else.
 *
 * Fanotify on each file system reports every change by inode: writes, truncation, attributes, links, names. What it
 * does not report is found by other means:
 * - a write through a mapping, and one that goes on: the file is mapped or open at the freeze (adapters/writers.ts), or
 *   its closing is reported;
 * - writes through an overlay, which many kernels keep from the upper layer's file system: inotify on the merged
 *   directories reports them. One that was in no layer at first appears there by a copy, which fanotify reports.
 * Whatever can't be had, or was lost, is said by `trouble`; then everything must be looked at.
 */
import { LinuxError } from "../shared/adapters/linux.ts";
import { DmigrateError, messageOf } from "../shared/errors.ts";
import {
  addDirectoryWatch,
  handleOf,
  openDirectoryWatches,
  watchFileSystem,
  type EventQueue,
} from "./adapters/fs-events.ts";
import { inodeOf, readFanotify, readInotify, type FileHandle } from "./core/fs-event.ts";
import type { TreeEntry } from "./core/tree-diff.ts";

/** Well below the time in which a busy node fills the kernel's queue of 16384 events. */
const readEveryMs = 10;
const maxNoted = 200_000;
const deviceAt = 8;

/** What has changed, by identity as in TreeEntry. */
export interface Changes {
  files: Set<string>;
  /** By the identity of the directory they are in. */
  names: Map<string, Set<string>>;
  /** Names written to in a directory of the merged mount. */
  written: Map<TreeEntry, Set<string>>;
}

export class ChangeWatch {
  readonly #fileSystems = new Map<string, EventQueue>();
  #merged: EventQueue | undefined;
  readonly #mergedDirectories = new Map<number, TreeEntry>();
  readonly #timer: NodeJS.Timeout;
  readonly #changes: Changes = { files: new Set(), names: new Map(), written: new Map() };
  #noted = 0;
  #trouble: string | undefined;
  readonly #isKnown: (identity: string) => boolean;

  /**
   * `isKnown`: whether a tree has this file, as far as the trees were looked at. What is reported of another one happened
   * before that one is looked at, if it ever is.
   */
  constructor(isKnown: (identity: string) => boolean) {
    this.#isKnown = isKnown;
    this.#timer = setInterval(() => this.#read(), readEveryMs);
    this.#timer.unref();
  }

  /** Why changes may have passed unnoticed; undefined when none has. */
  get trouble(): string | undefined {
    return this.#trouble;
  }

  /** Watches the file system of a tree's root; before anything in it is looked at. */
  watchTree(rootFd: number, identity: string): void {
    this.#try(() => {
      if (inodeOf(handleOf(rootFd)) !== identity.slice(0, deviceAt))
        throw new DmigrateError("unavailable", "this file system's handles do not tell the inode");
      const device = identity.slice(deviceAt);
      if (!this.#fileSystems.has(device)) this.#fileSystems.set(device, watchFileSystem(rootFd));
    });
  }

  /** Watches for writes in a directory of a merged mount; `entry` is what stands for it in the upper layer. */
  watchMerged(entry: TreeEntry, mergedFd: number): void {
    if (this.#trouble !== undefined) return;
    this.#try(() => {
      this.#merged ??= openDirectoryWatches();
      this.#mergedDirectories.set(addDirectoryWatch(this.#merged, mergedFd), entry);
    });
  }

  /** All changes up to this moment; undefined when some may be missing. */
  take(): Changes | undefined {
    this.#read();
    return this.#trouble === undefined ? this.#changes : undefined;
  }

  close(): void {
    clearInterval(this.#timer);
    for (const queue of this.#fileSystems.values()) queue.close();
    this.#fileSystems.clear();
    this.#merged?.close();
    this.#merged = undefined;
    this.#trouble ??= "the watch was ended";
  }

  #read(): void {
    if (this.#trouble !== undefined) return;
    this.#try(() => {
      for (const [device, queue] of this.#fileSystems)
        for (let bytes = queue.read(); bytes !== undefined; bytes = queue.read()) this.#noteFileSystem(device, bytes);
      for (let bytes = this.#merged?.read(); bytes !== undefined; bytes = this.#merged?.read()) this.#noteMerged(bytes);
      if (this.#noted > maxNoted) throw new DmigrateError("unavailable", "too many files change");
    });
  }

  #noteFileSystem(device: string, bytes: Buffer): void {
    for (const event of readFanotify(bytes)) {
      if (event.kind === "overflow") throw new DmigrateError("unavailable", "the kernel's queue of events overflowed");
      const { directory, name, object } = event;
      if (object !== undefined) this.#noteFile(identityOf(object, device));
      if (directory === undefined) continue;
      const identity = identityOf(directory, device);
      this.#noteFile(identity);
      if (name !== undefined && name !== ".") this.#noteName(this.#changes.names, identity, name);
    }
  }

  #noteMerged(bytes: Buffer): void {
    for (const event of readInotify(bytes)) {
      if (event.kind === "overflow") throw new DmigrateError("unavailable", "the kernel's queue of events overflowed");
      // Started anew, the container writes to another mount, of which nothing is reported.
      if (event.kind === "unmounted")
        throw new DmigrateError("unavailable", "the container's files were unmounted: it was started anew");
      const entry = this.#mergedDirectories.get(event.watch);
      if (entry !== undefined) this.#noteName(this.#changes.written, entry, event.name);
    }
  }

  #noteFile(identity: string): void {
    const { files } = this.#changes;
    if (files.has(identity) || !this.#isKnown(identity)) return;
    files.add(identity);
    this.#noted++;
  }

  #noteName<Key extends string | TreeEntry>(names: Map<Key, Set<string>>, key: Key, name: string): void {
    if (typeof key === "string" && !this.#isKnown(key)) return;
    const there = names.get(key);
    if (there?.has(name) === true) return;
    this.#noted++;
    if (there === undefined) names.set(key, new Set([name]));
    else there.add(name);
  }

  #try(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!(error instanceof DmigrateError || error instanceof LinuxError || error instanceof RangeError)) throw error;
      this.#trouble ??= messageOf(error);
    }
  }
}

function identityOf(handle: FileHandle, device: string): string {
  const inode = inodeOf(handle);
  if (inode === undefined) throw new DmigrateError("unavailable", "an event names a file in an unknown way");
  return inode + device;
}
