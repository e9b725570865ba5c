/**
 * Layers of images as containerd keeps them: blobs by the digest of their bytes, packed or not. Docker's API does not tell
 * which there are; ctr does, which comes with containerd. Where ctr cannot say, an image moves as a whole.
 */
import { z } from "zod";
import { imageIdSchema } from "../contracts/common.ts";
import { hasContainerdStore, type DockerInfo } from "./docker.ts";
import { run } from "./run.ts";

const blobSchema = z.object({ digest: imageIdSchema });
/** Of an image for one platform, or of one for several: opencontainers/image-spec, manifest.md and image-index.md. */
const manifestSchema = z.object({
  layers: z.array(blobSchema).max(512).optional(),
  manifests: z.array(blobSchema).max(64).optional(),
});
type Manifest = z.infer<typeof manifestSchema>;

const ctrMs = 10_000;

/** The digests of the layers of an image of this node, for all platforms that are here; empty where that cannot be told. */
export async function layerBlobs(info: DockerInfo, imageId: string): Promise<string[]> {
  const top = await readManifest(info, imageId);
  const manifests = (top?.manifests ?? []).map(({ digest }) => digest);
  const all = await Promise.all(((await presentBlobs(info, manifests)) ?? []).map((each) => readManifest(info, each)));
  return [...new Set([top, ...all].flatMap((each) => each?.layers ?? []).map(({ digest }) => digest))];
}

/** Those of the blobs that this node has; undefined where that cannot be told. */
export async function presentBlobs(info: DockerInfo, digests: readonly string[]): Promise<string[] | undefined> {
  if (digests.length === 0) return [];
  const text = await ctr(info, ["content", "ls", "--quiet", ...digests.map((digest) => `digest==${digest}`)]);
  const present = new Set(text?.split("\n"));
  return text === undefined ? undefined : digests.filter((digest) => present.has(digest));
}

async function readManifest(info: DockerInfo, digest: string): Promise<Manifest | undefined> {
  const text = await ctr(info, ["content", "get", digest]);
  if (text === undefined) return undefined;
  try {
    return manifestSchema.parse(JSON.parse(text));
  } catch {
    return undefined; // Something else than an image's.
  }
}

/** Undefined where Docker keeps its images itself, or ctr fails. */
async function ctr(info: DockerInfo, args: readonly string[]): Promise<string | undefined> {
  if (!hasContainerdStore(info)) return undefined;
  const { Address, Namespaces } = info.Containerd ?? {};
  const where = [...(Address ? ["--address", Address] : []), "--namespace", Namespaces?.Containers ?? "moby"];
  try {
    const { exitCode, stdout } = await run("ctr", [...where, ...args], { timeoutMs: ctrMs });
    return exitCode === 0 ? stdout : undefined;
  } catch {
    return undefined;
  }
}
