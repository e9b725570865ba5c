/**
 * Two nodes with every system on them, alike: one image, Docker's, Podman's and CRIU's files on tmpfs, and the settings below.
 * All systems are measured on this one pair of nodes.
 */
import { startLab, type Lab } from "../lab/lab.ts";
import { loadImage } from "../lab/load-image.ts";
import { ensureBenchNode, ensureBenchWorkload } from "./images.ts";
import { Shell } from "./shell.ts";

/** The workloads' image, in Docker's and in Podman's store on both nodes. */
export const benchImage = "dmigrate-bench-workload:run";

export interface BenchLab extends AsyncDisposable {
  readonly lab: Lab;
  readonly a: Shell;
  readonly b: Shell;
  /** The workloads' image in the outer engine. */
  readonly workloadImage: string;
}

export interface BenchLabOptions {
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal;
  readonly env?: Readonly<Record<string, string>>;
  /** Whether Podman is to have the image too. */
  readonly podman: boolean;
}

/**
 * A packet for the container that comes before its interface is up leaves an address resolution that is tried again after a second,
 * whoever migrates: make that quick for all.
 */
const quickArp = (bridge: string): string => `sysctl -q -w net.ipv4.neigh.${bridge}.retrans_time_ms=20`;
/** Podman removes its bridge with its last container: one that does nothing keeps it, as Docker's stays by itself. */
const keepBridge = `podman run -d --name keep-bridge ${benchImage} sleep infinity`;

export async function startBenchLab({ log, signal, env = {}, podman }: BenchLabOptions): Promise<BenchLab> {
  await using cleanup = new AsyncDisposableStack();
  let workloadImage = "";
  const tmpFs = { "/var/lib/docker": "rw,exec", "/var/lib/containerd": "rw,exec", "/var/lib/containers": "rw,exec" };
  const lab = cleanup.use(
    await startLab({
      log,
      signal,
      env,
      prefix: "dmigrate-bench",
      tmpFs,
      extendNode: async (context, outer, node) => {
        workloadImage = await ensureBenchWorkload(context, outer);
        return ensureBenchNode(context, outer, node);
      },
    }),
  );
  const shells = [new Shell(lab.nodes.a), new Shell(lab.nodes.b)] as const;
  for (const shell of shells) {
    await shell.start();
    await loadImage(shell.node, workloadImage, benchImage, { log });
    await shell.run(quickArp("docker0"), { quiet: true });
    await shell.run("rsync --daemon", { quiet: true });
    if (!podman) continue;
    await shell.run(`docker save ${benchImage} | podman load -q`, { quiet: true });
    await shell.run(keepBridge, { quiet: true });
    await shell.run(quickArp("podman0"), { quiet: true });
  }
  const [a, b] = shells;
  const rest = cleanup.move();
  return { lab, a, b, workloadImage, [Symbol.asyncDispose]: () => rest.disposeAsync() };
}
