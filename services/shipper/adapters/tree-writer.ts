/**
 * Builds trees out of records, beneath directory descriptors. A record carries one name in the directory it is in;
 * nothing the peer sends can name anything outside. Owner, mode, attributes and times are set when an entry is
 * complete: a directory's when it is left, after all that changes its times.
 */
import {
  changeMode,
  changeOwnerAt,
  changeTimesAt,
  close,
  linkDescriptorAt,
  makeDirectoryAt,
  makeNodeAt,
  makeSymlinkAt,
  openBeneath,
  openFlags,
  readDirectory,
  setAttribute,
} from "../../shared/adapters/linux.ts";
import { FrameError } from "../../shared/core/frames/frame.ts";
import type { Attributes } from "../../shared/core/frames/attributes.ts";
import type { SmallFile } from "../../shared/core/frames/small-file.ts";
import type { TreeRecord } from "../../shared/core/frames/tree-record.ts";
import { hasErrno } from "../../shared/errors.ts";
import { dropAttribute, dropUnwanted, permissionBits, setAll, type Extended } from "./entry-attributes.ts";
import { removeTree } from "./remove-tree.ts";
import { directoryFlagsToOpen, maxDepth } from "./snapshot.ts";
import { SmallFiles, type SmallFrame } from "./small-files.ts";
import { TargetFile } from "./target-file.ts";
import type { TargetTree } from "./target-tree.ts";

interface OpenDirectory {
  fd: number;
  name: Buffer;
  attributes: Attributes;
  extended: Extended[];
  extendedBytes: number;
  /** It was here before, and may have attributes of its own. */
  existed: boolean;
  /** Names that go unless they are mentioned, as latin1. */
  leftover: Set<string>;
  small: SmallFiles;
}

type Of<Type extends TreeRecord["type"]> = Extract<TreeRecord, { type: Type }>;

const fileTypeBits = 0o170000;
const nodeTypes = new Set([0o010000, 0o140000, 0o020000, 0o060000]);
/** Whoever reads this service's own trees expects files: a FIFO would hold it up, a link lead it elsewhere. */
const filesOnlyRefuses: ReadonlySet<TreeRecord["type"]> = new Set(["symlink", "node", "link"]);
const defaultAcl = Buffer.from("system.posix_acl_default");
/** All extended attributes of one entry; and of those whose end is still to come, each in a directory of the one before. */
const maxExtendedBytes = 1 << 20;
const maxHeldBytes = 16 << 20;
/** What one takes here beside its name and value. */
const attributeBytes = 256;

export class TreeWriter {
  readonly #tree: TargetTree;
  readonly #stack: OpenDirectory[] = [];
  #file: TargetFile | undefined;
  /** Where extended attributes go that arrive now, and where they are counted. */
  #extended: Extended[] | undefined;
  #counted: { extendedBytes: number } = { extendedBytes: 0 };
  /** A symbolic link or node that was just made: it takes its attributes at once. */
  #made: Of<"symlink" | "node"> | undefined;
  /** Of the open directories' extended attributes. */
  #heldBytes = 0;
  #finished = false;
  /** The name of a small file that could not be written. */
  #failed: Buffer | undefined;
  files = 0;

  constructor(tree: TargetTree) {
    this.#tree = tree;
  }

  /** Settles once all data so far is in its file; undefined when it is. */
  get writing(): Promise<void> | undefined {
    return this.#file?.writing;
  }

  /** True once the root directory was left: nothing more may come for this tree. */
  get finished(): boolean {
    return this.#finished;
  }

  /** Applies one record. Throws FrameError on one that makes no sense here, and errors of the file system. */
  apply(record: TreeRecord): Promise<void> | undefined {
    if (record.type === "attribute") {
      this.#addAttribute(record);
      return undefined;
    }
    this.#finishMade();
    this.#extended = undefined;
    if (record.type === "chunk") return this.#openFile().chunk(record.offset, record.bytes);
    if (record.type === "zeros") return this.#openFile().zeros(record.offset, record.length);
    if (record.type === "hole") return this.#openFile().hole(record.offset, record.length);
    if (record.type === "copy") return this.#openFile().copy(record.offset, record, this.#tree);
    if (record.type === "same") return this.#openFile().same(record, this.#tree);
    if (record.type === "origin") {
      const file = this.#openFile();
      file.noteOrigin(record.number, this.#tree, [...this.#path(), file.name]);
      return undefined;
    }
    if (record.type === "fileEnd") return this.#fileEnd();
    if (this.#file !== undefined) throw new FrameError(`a record ${record.type} within a file`);
    if (!this.#tree.keepAttributes && filesOnlyRefuses.has(record.type))
      throw new FrameError(`a record ${record.type} where only files go`);
    switch (record.type) {
      case "tree":
        throw new FrameError("a tree within a tree");
      case "directory":
        this.#enter(record);
        break;
      case "leave":
        this.#leave();
        break;
      case "file":
      case "patch":
        this.#beginFile(record);
        break;
      case "symlink":
        this.#replace(record.name, (dirFd) => makeSymlinkAt(dirFd, record.name, record.target));
        this.#expectAttributes(record);
        break;
      case "node":
        this.#node(record);
        break;
      case "link":
        this.#link(record);
        break;
      case "remove":
        removeTree(this.#top().fd, record.name);
        this.#top().leftover.delete(record.name.toString("latin1"));
        break;
    }
    return undefined;
  }

  /** Makes a small file, as `apply` does for records. */
  applySmall(frame: SmallFrame, file: SmallFile): void {
    if (this.#made !== undefined) this.#finishMade();
    this.#extended = undefined;
    if (this.#file !== undefined) throw new FrameError("a small file within a file");
    const { small, leftover, fd } = this.#top();
    const name = (): Buffer => frame.bytes.subarray(file.nameAt, file.nameAt + file.nameBytes);
    if (leftover.size > 0) leftover.delete(name().toString("latin1"));
    try {
      try {
        small.write(frame, file);
      } catch (error) {
        if (!hasErrno(error, "EEXIST")) throw error;
        removeTree(fd, name());
        small.write(frame, file);
      }
    } catch (error) {
      this.#failed = Buffer.from(name());
      throw error;
    }
    this.files++;
  }

  /** Closes what is open. Safe to call at any time, also twice. */
  async dispose(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    await file?.abandon();
    for (const { fd } of this.#stack.splice(0)) if (fd !== this.#tree.rootFd) close(fd);
  }

  /** Where the writing stands, for messages. */
  where(): string {
    const name = this.#failed ?? this.#file?.name;
    const names = name === undefined ? this.#path() : [...this.#path(), name];
    return `/${names.map(String).join("/")}`;
  }

  #top(): OpenDirectory {
    const top = this.#stack.at(-1);
    if (top === undefined) throw new FrameError("a record outside the tree's root");
    return top;
  }

  #path(): Buffer[] {
    return this.#stack.slice(1).map(({ name }) => name);
  }

  #enter(record: Of<"directory">): void {
    const isRoot = record.name.length === 0;
    if (isRoot !== (this.#stack.length === 0) || this.#finished) throw new FrameError("a directory in the wrong place");
    if (this.#stack.length > maxDepth) throw new FrameError(`directories more than ${maxDepth} deep`);
    const { fd, existed } = isRoot ? { fd: this.#tree.rootFd, existed: true } : this.#openDirectory(record);
    const directory: OpenDirectory = {
      fd,
      name: record.name,
      attributes: record.attributes,
      extended: [],
      extendedBytes: 0,
      existed,
      leftover: new Set(),
      small: new SmallFiles(fd, this.#tree.keepAttributes),
    };
    this.#stack.push(directory);
    this.#expect(directory.extended, directory);
    // Whatever is made in it would inherit these; they come back when it is left.
    if (existed && this.#tree.keepAttributes) dropAttribute(fd, defaultAcl);
    if (existed && record.prune) directory.leftover = this.#namesNow(fd);
  }

  #openDirectory({ name, fresh }: Of<"directory">): { fd: number; existed: boolean } {
    const { fd: dirFd, leftover } = this.#top();
    leftover.delete(name.toString("latin1"));
    if (fresh) removeTree(dirFd, name);
    if (makeUnlessThere(dirFd, name)) return { fd: openBeneath(dirFd, name, directoryFlagsToOpen), existed: false };
    try {
      return { fd: openBeneath(dirFd, name, directoryFlagsToOpen), existed: true };
    } catch (error) {
      if (!hasErrno(error, "ENOTDIR", "ELOOP")) throw error;
    }
    removeTree(dirFd, name);
    makeDirectoryAt(dirFd, name, 0o700);
    return { fd: openBeneath(dirFd, name, directoryFlagsToOpen), existed: false };
  }

  #namesNow(fd: number): Set<string> {
    const { leftovers } = this.#tree;
    const names = leftovers === undefined ? readDirectory(fd) : leftovers.names(this.#path());
    return new Set([...names].map((name) => name.toString("latin1")));
  }

  #leave(): void {
    const directory = this.#top();
    const path = this.#path();
    for (const text of directory.leftover) {
      const name = Buffer.from(text, "latin1");
      if (this.#tree.leftovers === undefined) removeTree(directory.fd, name);
      else this.#tree.leftovers.remove(directory.fd, path, name);
    }
    if (this.#tree.keepAttributes) {
      if (directory.existed) dropUnwanted(directory.fd, directory.extended);
      setAll(directory.fd, directory);
    }
    this.#stack.pop();
    this.#heldBytes -= directory.extendedBytes;
    if (directory.fd !== this.#tree.rootFd) close(directory.fd);
    if (this.#stack.length === 0) this.#finished = true;
  }

  #beginFile(record: Of<"file" | "patch">): void {
    const { type, name, attributes } = record;
    // What is right from the start need not be changed at the end.
    const mode = this.#tree.keepAttributes ? attributes.mode & 0o777 : 0o600;
    this.#file =
      type === "file"
        ? this.#replace(name, (dirFd) => TargetFile.create(dirFd, record, mode))
        : this.#keep(name, (dirFd) => TargetFile.patch(dirFd, record));
    this.#expect(this.#file.extended);
  }

  #fileEnd(): Promise<void> | undefined {
    const file = this.#openFile();
    const finished = (): void => {
      this.#file = undefined;
      this.files++;
    };
    const finishing = file.finish(this.#tree.keepAttributes);
    if (finishing !== undefined) return finishing.then(finished);
    finished();
    return undefined;
  }

  #openFile(): TargetFile {
    if (this.#file === undefined) throw new FrameError("data or the end of a file outside one");
    return this.#file;
  }

  #node(record: Of<"node">): void {
    const { name, attributes, major, minor } = record;
    const type = attributes.mode & fileTypeBits;
    if (!nodeTypes.has(type)) throw new FrameError("a node of no type");
    this.#replace(name, (dirFd) => makeNodeAt(dirFd, name, type | 0o600, major, minor));
    this.#expectAttributes(record);
  }

  #link({ name, path }: Of<"link">): void {
    const root = this.#stack[0];
    if (root === undefined) throw new FrameError("a link outside the tree's root");
    const fd = openBeneath(root.fd, path, openFlags.pathOnly);
    try {
      this.#replace(name, (dirFd) => linkDescriptorAt(fd, dirFd, name));
    } finally {
      close(fd);
    }
    this.files++;
  }

  /** Makes something of this name; what has the name already goes. */
  #replace<T>(name: Buffer, make: (dirFd: number) => T): T {
    try {
      return this.#keep(name, make);
    } catch (error) {
      if (!hasErrno(error, "EEXIST")) throw error;
    }
    const { fd } = this.#top();
    removeTree(fd, name);
    return make(fd);
  }

  /** What has this name stays. */
  #keep<T>(name: Buffer, open: (dirFd: number) => T): T {
    const { fd, leftover } = this.#top();
    leftover.delete(name.toString("latin1"));
    return open(fd);
  }

  #expectAttributes(made: Of<"symlink" | "node">): void {
    this.files++;
    this.#made = made;
    this.#expect([]);
  }

  #expect(extended: Extended[], counted = { extendedBytes: 0 }): void {
    this.#extended = extended;
    this.#counted = counted;
  }

  #addAttribute({ name, value }: Of<"attribute">): void {
    if (this.#extended === undefined) throw new FrameError("an attribute of nothing");
    const bytes = name.length + value.length + attributeBytes;
    this.#counted.extendedBytes += bytes;
    if (this.#counted.extendedBytes > maxExtendedBytes) throw new FrameError("too many attributes on one file");
    if (this.#counted === this.#stack.at(-1)) this.#heldBytes += bytes;
    if (this.#heldBytes > maxHeldBytes) throw new FrameError("too many attributes on directories within each other");
    this.#extended.push({ name, value });
  }

  /** Sets what belongs to a symbolic link or node, once its last attribute has come. */
  #finishMade(): void {
    const made = this.#made;
    if (made === undefined) return;
    const extended = this.#extended ?? [];
    this.#made = undefined;
    if (!this.#tree.keepAttributes) return;
    const { name, attributes } = made;
    const dirFd = this.#top().fd;
    changeOwnerAt(dirFd, name, attributes.uid, attributes.gid);
    if (made.type === "node") {
      const fd = openBeneath(dirFd, name, openFlags.pathOnly);
      try {
        changeMode(fd, attributes.mode & permissionBits);
      } finally {
        close(fd);
      }
    }
    for (const each of extended) setAttribute({ dirFd, name }, each.name, each.value);
    changeTimesAt(dirFd, name, attributes.access, attributes.modify);
  }
}

/** False when the name is taken. */
function makeUnlessThere(dirFd: number, name: Buffer): boolean {
  try {
    makeDirectoryAt(dirFd, name, 0o700);
    return true;
  } catch (error) {
    if (hasErrno(error, "EEXIST")) return false;
    throw error;
  }
}
