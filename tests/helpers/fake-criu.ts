/**
 * Stands in for the program `criu`, as far as the pager runs it. What `lazy-pages` does is in `fake.json` among the
 * images: `drain` takes every page and ends; `wait` takes one page and then lives on; `die` takes one page and ends by
 * itself; `refuse` ends at once with an error in its log.
 */
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { writeSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { readLazyPages } from "../../services/pager/adapters/images.ts";
import { inventoryImage, pagemapImage, pstreeImage } from "./criu-images.ts";
import { runFakeLazyPages } from "./fake-lazy-pages.ts";
import { createRandom } from "./model-memory.ts";
import type { PageRange } from "../../services/shared/core/criu/process-images.ts";

export interface FakeCriuPlan {
  mode: "drain" | "wait" | "die" | "refuse";
  seed: number;
}

/** Makes a program of this name to run as `criu`. */
export async function installFakeCriu(directory: string, version: string): Promise<string> {
  const path = join(directory, "criu");
  const script = `#!/bin/sh\nFAKE_CRIU_VERSION=${version} exec "${process.execPath}" "${import.meta.filename}" "$@"\n`;
  await writeFile(path, script);
  await chmod(path, 0o755);
  return path;
}

/** Writes images of these processes, and the plan. */
export async function writeFakeImages(
  imagesDir: string,
  processes: ReadonlyMap<number, readonly PageRange[]>,
  plan: FakeCriuPlan,
): Promise<void> {
  await mkdir(imagesDir, { recursive: true });
  await writeFile(join(imagesDir, "inventory.img"), inventoryImage());
  await writeFile(join(imagesDir, "pstree.img"), pstreeImage([...processes.keys()]));
  for (const [pid, ranges] of processes) {
    const entries = ranges.map((range) => ({ ...range, flags: 2 }));
    await writeFile(join(imagesDir, `pagemap-${pid}.img`), pagemapImage(entries));
  }
  await writeFile(join(imagesDir, "fake.json"), JSON.stringify(plan));
}

async function main(args: readonly string[]): Promise<number> {
  const version = process.env["FAKE_CRIU_VERSION"] ?? "";
  if (args[0] === "--version") process.stdout.write(`Version: ${version}\n`);
  if (args[0] !== "lazy-pages") return 0;
  const option = (name: string): string => args[args.indexOf(name) + 1] ?? "";
  const imagesDir = option("--images-dir");
  const plan = JSON.parse(await readFile(join(imagesDir, "fake.json"), "utf8")) as FakeCriuPlan;
  const { mode, seed } = plan;
  if (mode === "refuse") {
    await writeFile(join(option("--work-dir"), option("-o")), "Warn\nError (criu/uffd.c:1): no luck\nError: more\n");
    return 1;
  }
  const socket = new Socket({ fd: Number(option("--ps-socket")), readable: true, writable: true });
  const all = new Map((await readLazyPages(imagesDir)).map(({ pid, ranges }) => [pid, ranges]));
  writeSync(Number(option("--status-fd")), Buffer.alloc(1));
  const headerBytes = Number.parseFloat(version) >= 4.2 ? 32 : 24;
  const random = createRandom(seed);
  if (mode === "drain") {
    const { status } = await runFakeLazyPages({ socket, headerBytes, processes: all, random, faultEvery: 4, forks: 2 });
    return status;
  }
  const [[pid, [first]]] = [...all] as [[number, [PageRange]]];
  const request = Buffer.alloc(headerBytes);
  request.writeUInt32LE(7, 0);
  request.writeUInt32LE(1, headerBytes === 32 ? 8 : 4);
  request.writeBigUInt64LE(BigInt(first.page) * 4096n, headerBytes - 16);
  request.writeBigUInt64LE(BigInt(pid), headerBytes - 8);
  socket.write(request);
  await new Promise((resolve) => socket.once("data", resolve));
  if (mode === "die") return 1;
  return new Promise(() => setInterval(() => undefined, 1_000));
}

if (process.argv[1] === import.meta.filename) process.exit(await main(process.argv.slice(2)));
