/** The ways in which a tree of files gets from node a to node b: ours and the two that everybody has. All to and from tmpfs. */
import type { LinkSecurity } from "../../../services/shared/contracts/shipper.ts";
import type { BenchLab } from "./bench-lab.ts";
import { makeContainers, openShipper, volumePath } from "./shipper-run.ts";

const port = 7495;

/** Copies the volume's files, and verifies them; resolves with how long the copy took, ms. Node b's volume is empty before. */
type TreeCopy = (bench: BenchLab, timeoutMs: number) => Promise<number>;

/** `plain`: ours without encryption. */
export type TreeCopyName = "tar" | "rsync" | "dmigrate" | "plain";

export const treeCopies: Readonly<Record<TreeCopyName, TreeCopy>> = {
  tar: async (bench, timeoutMs) => {
    const { a, b } = bench;
    const received = b.run(`nc -l -p ${port} | tar -x -C ${volumePath}`, { timeoutMs });
    received.catch(() => undefined);
    await b.run(`for i in $(seq 200); do ss -Hltn sport = :${port} | grep -q . && exit; sleep 0.01; done; exit 1`);
    return verified(bench, async () => {
      await a.run(`tar -C ${volumePath} -c . | nc -N ${b.ip} ${port}`, { timeoutMs });
      await received;
    });
  },
  rsync: (bench, timeoutMs) => {
    const { a, b } = bench;
    const command = `rsync -aHAXS --numeric-ids ${volumePath}/ rsync://${b.ip}/root${volumePath}/`;
    return verified(bench, () => a.run(command, { timeoutMs }));
  },
  dmigrate: (bench, timeoutMs) => ship(bench, "tls", timeoutMs),
  plain: (bench, timeoutMs) => ship(bench, "plain", timeoutMs),
};

async function ship(bench: BenchLab, security: LinkSecurity, timeoutMs: number): Promise<number> {
  // Once this is disposed of, node b is as it was before.
  await using shipper = await openShipper(bench, security);
  return await verified(bench, () => shipper.firstPass(timeoutMs));
}

/** Empties both volumes, and fills node a's. */
export async function prepareTree(bench: BenchLab, fill: string): Promise<void> {
  await makeContainers(bench);
  await bench.a.run(`cd ${volumePath} && ${fill}`, { timeoutMs: 300_000 });
}

export const emptyTarget = ({ b }: BenchLab): Promise<string> =>
  b.run(`find ${volumePath} -mindepth 1 -delete`, { quiet: true });

const list = "find . -type f -printf '%p %m %U:%G %s %T@\\n' | sed 's/\\.[0-9]*$//' | sort";
const contents = "find . -type f -print0 | sort -z | xargs -0 cat | sha1sum";
const digest = `cd ${volumePath} && { ${list}; ${contents}; } | sha1sum`;

/** Throws unless both nodes have the same files, byte by byte. Times are compared by the second: tar knows no more. */
export async function verifyTree({ a, b }: BenchLab): Promise<void> {
  const [there, here] = await Promise.all([a, b].map((shell) => shell.run(digest, { quiet: true })));
  if (there !== here) throw new Error("the files at the destination are not those of the source");
}

async function verified(bench: BenchLab, copy: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await copy();
  const ms = performance.now() - began;
  await verifyTree(bench);
  return ms;
}
