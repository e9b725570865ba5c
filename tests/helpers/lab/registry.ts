/** A registry of images on a node of the lab's registry image, and what it takes to have one of several platforms in it. */
import { createHash } from "node:crypto";
import { z } from "zod";
import type { LabNode } from "./node.ts";

/** Its name on every node that was told of it, and its port. */
export const registry = "registry.lab:5000";

const serve = `printf 'version: 0.1\nstorage: {filesystem: {rootdirectory: /srv/registry}}\nhttp: {addr: ":5000"}\n' >/srv/registry.yml
  docker-registry serve /srv/registry.yml >/srv/registry.log 2>&1 & echo $! >/srv/registry.pid
  until grep -q 'listening on' /srv/registry.log; do sleep 0.1; done`;

export async function startRegistry(node: LabNode): Promise<void> {
  await node.exec(["sh", "-c", serve]);
}

export async function stopRegistry(node: LabNode): Promise<void> {
  await node.exec(["sh", "-c", "kill $(cat /srv/registry.pid)"]);
}

const indexType = "application/vnd.oci.image.index.v1+json";
const manifestTypes = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
];
const manifestSchema = z.looseObject({
  mediaType: z.string(),
  config: z.looseObject({ mediaType: z.string(), digest: z.string() }),
});
const configSchema = z.looseObject({ architecture: z.string() });

const digestOf = (text: string): string => `sha256:${createHash("sha256").update(text).digest("hex")}`;

/** Makes an image of two platforms, tagged `tag`, out of the one that is tagged `of`. Most public images are such. */
export async function pushIndex(node: LabNode, repo: string, of: string, tag: string): Promise<void> {
  const base = `http://${node.ip}:5000/v2/${repo}`;
  const ask = async (path: string, init: RequestInit = {}): Promise<Response> => {
    const answer = await fetch(new URL(path, `${base}/`), init);
    if (!answer.ok) throw new Error(`the registry answered ${path}: ${String(answer.status)} ${await answer.text()}`);
    return answer;
  };
  const put = async (name: string | undefined, mediaType: string, value: unknown) => {
    const body = JSON.stringify(value);
    const digest = digestOf(body);
    await ask(`manifests/${name ?? digest}`, { method: "PUT", headers: { "content-type": mediaType }, body });
    return { mediaType, digest, size: Buffer.byteLength(body) };
  };
  const accept = manifestTypes.join(",");
  const manifest = manifestSchema.parse(await (await ask(`manifests/${of}`, { headers: { accept } })).json());
  const settings = configSchema.parse(await (await ask(`blobs/${manifest.config.digest}`)).json());
  const manifests = [];
  for (const architecture of ["s390x", settings.architecture]) {
    const body = JSON.stringify({ ...settings, architecture });
    const config = { ...manifest.config, digest: digestOf(body), size: Buffer.byteLength(body) };
    const upload = new URL((await ask("blobs/uploads/", { method: "POST" })).headers.get("location") ?? "", base);
    upload.searchParams.set("digest", config.digest);
    await ask(upload.href, { method: "PUT", headers: { "content-type": "application/octet-stream" }, body });
    const { mediaType, digest, size } = await put(undefined, manifest.mediaType, { ...manifest, config });
    manifests.push({ mediaType, digest, size, platform: { os: "linux", architecture } });
  }
  await put(tag, indexType, { schemaVersion: 2, mediaType: indexType, manifests });
}
