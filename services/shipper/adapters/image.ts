/** Images as `docker save` writes and `docker load` reads them. */
import { PassThrough, Readable } from "node:stream";
import { text } from "node:stream/consumers";
import type Docker from "dockerode";
import { dockerError, dockerInfo } from "../../shared/adapters/docker.ts";
import { presentBlobs } from "../../shared/adapters/image-blobs.ts";
import type { JobSpec } from "../../shared/core/frames/job-message.ts";
import { DmigrateError } from "../../shared/errors.ts";
import { LayerFilter } from "../core/layer-filter.ts";
import type { JobWork } from "../file-jobs.ts";
import { askDocker } from "./ask-docker.ts";
import { FrameFiller } from "./frame-filler.ts";
import { noRoom } from "../core/no-room.ts";
import { RoomGuard } from "./room-guard.ts";

/** Sends an image of this node, without the layers of these digests. Throws `not-found`, `upstream`. */
export async function saveImage(
  docker: Docker,
  { imageId, layersPresent }: { imageId: string; layersPresent: readonly string[] },
  job: JobWork,
): Promise<void> {
  const { signal } = job;
  const frames = new FrameFiller(job);
  const image = docker.getImage(imageId);
  const what = `image ${imageId}`;
  const filter = new LayerFilter(layersPresent);
  const stream = await askDocker(what, image.get());
  const abort = (): void => {
    destroy(stream);
  };
  signal.addEventListener("abort", abort, { once: true });
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>)
      for (const bytes of filter.push(chunk)) await frames.add(bytes);
    for (const bytes of filter.end()) await frames.add(bytes);
    await frames.flush();
  } catch (error) {
    signal.throwIfAborted();
    throw dockerError(error, `saving image ${imageId}`);
  } finally {
    signal.removeEventListener("abort", abort);
    destroy(stream);
  }
}

/** Docker's answers are Node's own streams; the type says less. */
function destroy(stream: NodeJS.ReadableStream): void {
  if (stream instanceof Readable) stream.destroy();
}

type ImageSpec = Extract<JobSpec, { kind: "image" }>;

/** An image on its way into this node's Docker. */
export class ImageLoad {
  readonly #docker: Docker;
  readonly #imageId: string;
  readonly #imageRef: string;
  readonly #layersLeftOut: readonly string[];
  readonly #body = new PassThrough({ highWaterMark: 1 << 20 });
  readonly #abort = new AbortController();
  readonly #imagesBefore: Promise<ImagesHere>;
  readonly #loaded: Promise<string>;
  readonly #room: Promise<RoomGuard>;

  constructor(docker: Docker, { imageId, imageRef, layersLeftOut }: ImageSpec) {
    this.#docker = docker;
    this.#imageId = imageId;
    this.#imageRef = imageRef;
    this.#layersLeftOut = layersLeftOut;
    this.#body.on("error", () => undefined);
    this.#room = dockerInfo(docker).then(({ DockerRootDir }) => new RoomGuard(DockerRootDir));
    this.#room.catch(() => undefined);
    this.#imagesBefore = imagesOf(docker);
    this.#loaded = this.#imagesBefore.then(async () => {
      const answer = await docker.loadImage(this.#body, { quiet: true, abortSignal: this.#abort.signal });
      return text(answer);
    });
    this.#loaded.catch(() => this.#body.destroy());
  }

  /** Takes bytes; waits while Docker is busy. */
  async write(bytes: Buffer): Promise<void> {
    const shortage = (await this.#room).shortageAfter(bytes.length);
    if (shortage !== undefined) throw noRoom(`image ${this.#imageRef}`, shortage);
    const taken = await new Promise<boolean>((resolve) => {
      this.#body.write(bytes, (error) => resolve(error === null || error === undefined));
    });
    if (taken) return;
    await this.#finishLoad();
    throw new DmigrateError("upstream", "Docker stopped reading the image");
  }

  /** Resolves once the image is there under its id, and tagged if nothing else has that tag. */
  async finish(): Promise<void> {
    this.#body.end();
    await this.#finishLoad();
    const image = this.#docker.getImage(this.#imageId);
    if (!(await this.#isThere(this.#imageId)))
      throw new DmigrateError(
        "transfer-failed",
        `what was loaded is not image ${this.#imageId}: the two nodes' Docker keep images in different ways ` +
          "(containerd image store on one of them?)",
      );
    await this.#refuseParts();
    const tag = parseTag(this.#imageRef);
    if (tag === undefined || (await this.#isThere(this.#imageRef))) return;
    await askDocker(`tag ${this.#imageRef}`, image.tag(tag));
  }

  abort(): void {
    this.#abort.abort();
    this.#body.destroy();
  }

  async #finishLoad(): Promise<void> {
    const answer = await this.#loaded.catch((error: unknown) => {
      throw dockerError(error, "docker load");
    });
    const failure = /"error":\s*"((?:[^"\\]|\\.)*)"/.exec(answer)?.[1];
    if (failure !== undefined) throw new DmigrateError("upstream", `docker load: ${failure}`);
    await this.#refuseTags(answer);
  }

  /** Of layers that were left out, one may have gone meanwhile: containerd takes an image without them all the same. */
  async #refuseParts(): Promise<void> {
    const present = await presentBlobs(await dockerInfo(this.#docker, Infinity), this.#layersLeftOut);
    if (present === undefined || present.length === this.#layersLeftOut.length) return;
    // One that was here before is none of the source's business.
    if (!(await this.#imagesBefore).ids.has(this.#imageId))
      await askDocker(`image ${this.#imageId}`, this.#docker.getImage(this.#imageId).remove());
    throw new DmigrateError(
      "transfer-failed",
      `layers of image ${this.#imageRef} were removed from this node while the rest came; migrate again`,
    );
  }

  /** This side's images keep their tags: an archive of ours names none, so one that does is refused, and undone. */
  async #refuseTags(answer: string): Promise<void> {
    const tags = [...answer.matchAll(/Loaded image: ([^"\\\s]+)/g)].map(([, tag = ""]) => tag);
    if (tags.length === 0) return;
    const before = await this.#imagesBefore;
    for (const ref of tags) {
      const id = before.tags.get(ref);
      const tag = parseTag(ref);
      const undone: Promise<unknown> =
        id !== undefined && tag !== undefined
          ? this.#docker.getImage(id).tag(tag)
          : this.#docker.getImage(ref).remove({ noprune: true });
      await askDocker(`the tag ${ref} that came with the image`, undone);
    }
    throw new DmigrateError(
      "transfer-failed",
      `the image came with tags of its own (${tags.join(", ")}); they were taken off`,
    );
  }

  async #isThere(ref: string): Promise<boolean> {
    try {
      await askDocker(`image ${ref}`, this.#docker.getImage(ref).inspect());
      return true;
    } catch (error) {
      if (error instanceof DmigrateError && error.code === "not-found") return false;
      throw error;
    }
  }
}

interface ImagesHere {
  ids: ReadonlySet<string>;
  /** Each tag, and the id it stands for. */
  tags: ReadonlyMap<string, string>;
}

async function imagesOf(docker: Docker): Promise<ImagesHere> {
  const images = await askDocker("the list of images", docker.listImages());
  // Docker before 25 says null for an image without tags.
  const tagsIn = (image: { RepoTags?: string[] | null | undefined }): string[] => image.RepoTags ?? [];
  return {
    ids: new Set(images.map(({ Id }) => Id)),
    tags: new Map(images.flatMap((image) => tagsIn(image).map((tag) => [tag, image.Id] as const))),
  };
}

/** Repository and tag of a reference; undefined for one by digest or id, which can't be given. */
export function parseTag(ref: string): { repo: string; tag: string } | undefined {
  if (ref.includes("@") || /^(?:sha256:)?[0-9a-f]{12,64}$/.test(ref) || ref === "") return undefined;
  // A colon before the last slash belongs to a registry's port.
  const colon = ref.indexOf(":", ref.lastIndexOf("/") + 1);
  return colon < 0 ? { repo: ref, tag: "latest" } : { repo: ref.slice(0, colon), tag: ref.slice(colon + 1) };
}
