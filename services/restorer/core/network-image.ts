/**
 * CRIU's images of the root task's network namespace, as far as they decide where it comes from: with an external key
 * CRIU takes the namespace that runc hands it under that key, and without the image it makes a new, empty one. Pure.
 */
import { networkName } from "../../shared/core/criu/external.ts";
import { encodeImage, imageMessages } from "../../shared/core/criu/image.ts";
import { decode, messages } from "../../shared/core/criu/messages.ts";

/** The image's file name, from the root task's ids image; undefined when it has no network namespace of its own. */
export function networkImageName(idsImage: Buffer): string | undefined {
  const [first] = imageMessages("ids", idsImage);
  if (first === undefined) return undefined;
  const { netNsId } = decode(messages.ids, first) as unknown as { netNsId: number };
  return netNsId === 0 ? undefined : `netns-${netNsId}.img`;
}

/** An image that says: external. Field 8 (a string) of CRIU's netns_entry, which needs no other. */
export function externalNetworkImage(): Buffer {
  const key = Buffer.from(networkName);
  return encodeImage("netns", [Buffer.concat([Buffer.from([(8 << 3) | 2, key.length]), key])]);
}
