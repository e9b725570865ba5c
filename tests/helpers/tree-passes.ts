/** Trees that are sent over a connection in memory, from one temporary directory to another, in passes. */
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { seekData, seekHole } from "../../services/shared/adapters/linux.ts";
import type { FramedLink, FrameHandler } from "../../services/shared/link/framed.ts";
import { createLog } from "../../services/shared/log.ts";
import { TreesJob } from "../../services/shipper/adapters/trees-job.ts";
import type { TreeEntry } from "../../services/shipper/core/tree-diff.ts";
import { FileJobs } from "../../services/shipper/file-jobs.ts";
import { ReceiveJobs } from "../../services/shipper/receive-jobs.ts";
import { shipAgain, shipAll, shipChanges, type Pass, type SentTrees } from "../../services/shipper/ship-trees.ts";
import { linkPair } from "./link-pair.ts";
import { temporaryDirectory } from "./temporary-directory.ts";

/** How the second pass finds what changed: by the kernel's reports (as root, else it looks at all), or by looking. */
export const passModes = ["reports", "looking"] as const;
export type PassMode = (typeof passModes)[number];

const { signal } = new AbortController();
const first = "v";

export class TreePasses {
  readonly dir = temporaryDirectory("dmigrate-trees-");
  readonly source = join(this.dir, "source");
  readonly target = join(this.dir, "target");
  readonly sourceLink: FramedLink;
  /** Processes that count as the container's. */
  processes: number[] = [];
  readonly #mode: PassMode;
  readonly #others: readonly string[];
  readonly #jobs = new FileJobs();
  readonly #watches: { close: () => void }[] = [];

  /** `others`: volumes beside the first, in the order in which they are sent. */
  constructor(mode: PassMode = "reports", others: readonly string[] = []) {
    this.#mode = mode;
    this.#others = others;
    for (const volume of [undefined, ...others]) {
      mkdirSync(this.sourceOf(volume));
      mkdirSync(this.targetOf(volume));
    }
    const handlers: { source?: FrameHandler; target?: FrameHandler } = {};
    const { links } = linkPair(
      (frame) => handlers.source?.(frame),
      (frame) => handlers.target?.(frame),
    );
    this.sourceLink = links[0];
    const receive = new ReceiveJobs({
      log: createLog("test", "silent"),
      onDone: () => undefined,
      open: (spec) =>
        new TreesJob(
          spec.kind === "trees" ? spec.trees : [],
          (tree) => {
            const volume = tree.kind === "volume" && tree.name !== first ? tree.name : undefined;
            const label = `volume ${volume ?? first}`;
            return Promise.resolve({ path: this.targetOf(volume), layer: undefined, keepAttributes: true, label });
          },
          signal,
        ),
    });
    handlers.source = this.#jobs.attach(links[0]);
    handlers.target = receive.attach(links[1]);
  }

  close(): void {
    this.#jobs.close(new Error("the test is over"));
    for (const watch of this.#watches.splice(0)) watch.close();
  }

  /** What the link is known to carry: where that is little, and frames wait for it, the source looks what it has sent before. */
  noteLink(bytesPerSecond: number, isBusy = true): void {
    this.#jobs.noteLink(bytesPerSecond);
    Object.defineProperty(this.#jobs, "linkIsBusy", { value: isBusy, configurable: true });
  }

  /** The first pass; with what it has sent, the second one. */
  async pass(previous?: SentTrees): Promise<Pass> {
    const done =
      previous === undefined
        ? await shipAll({ ...this.#container(), priority: 4, signal })
        : await shipChanges(
            { ...this.#container(), priority: 1, signal },
            this.#mode === "reports" ? previous : { ...previous, watched: undefined },
          );
    if (done.sent.watched !== undefined) this.#watches.push(done.sent.watched.watch);
    return done;
  }

  /** One more over what has changed, before the second pass: how many files it sent, undefined for nothing to look at. */
  passBetween(sent: SentTrees, seen = new Map<TreeEntry, string>()): Promise<number | undefined> {
    return shipAgain({ ...this.#container(), priority: 4, signal }, sent, seen);
  }

  /** The directories of another volume, or of the first. */
  sourceOf(volume: string | undefined): string {
    return volume === undefined ? this.source : `${this.source}-${volume}`;
  }

  targetOf(volume: string | undefined): string {
    return volume === undefined ? this.target : `${this.target}-${volume}`;
  }

  inSource(...names: string[]): string {
    return join(this.source, ...names);
  }

  inTarget(...names: string[]): string {
    return join(this.target, ...names);
  }

  #container() {
    return {
      jobs: this.#jobs,
      freezer: { processes: () => this.processes } as Parameters<typeof shipAll>[0]["freezer"],
      trees: [undefined, ...this.#others].map((volume) => ({
        name: { kind: "volume" as const, name: volume ?? first },
        tree: { path: this.sourceOf(volume), mergedPath: undefined, label: `volume ${volume ?? first}` },
      })),
    };
  }
}

/** Older than the file system's clock tick, so that the time of change tells. */
export const settle = (): Promise<void> => sleep(80);

/** Where a file has data: from, to, and again. */
export function dataOf(path: string): number[] {
  const fd = openSync(path, "r");
  const edges: number[] = [];
  for (let from = seekData(fd, 0); from !== undefined; from = seekData(fd, edges.at(-1) ?? 0))
    edges.push(from, seekHole(fd, from));
  closeSync(fd);
  return edges;
}
