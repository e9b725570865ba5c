/** The thread that is the source of a rehearsal: it serves any page asked for, over data connections as a source has them. */
import { randomFillSync } from "node:crypto";
import type { AddressInfo } from "node:net";
import { parentPort, workerData } from "node:worker_threads";
import { frameTypes, type Frame } from "../../shared/core/frames/frame.ts";
import {
  bufferBytesOf,
  decodePageRequest,
  encodePages,
  maxDataPages,
  pageBytes,
  pageDataOffset,
} from "../../shared/core/frames/page-message.ts";
import type { Connection } from "../../shared/link/connection.ts";
import { createDataServer } from "../../shared/link/data-server.ts";
import { openConnection, type FramedLink } from "../../shared/link/framed.ts";

/** One page of so many is zero. */
const zeroEvery = 16;

const key = Buffer.from(workerData as string, "hex");
const contents = randomFillSync(Buffer.alloc(maxDataPages * pageBytes));
for (let page = 0; page < maxDataPages; page += zeroEvery) contents.fill(0, page * pageBytes, (page + 1) * pageBytes);

function answer(link: FramedLink, { channel, payload }: Frame): void {
  const { vaddr, pages: asked } = decodePageRequest(payload);
  const pages = Math.min(asked, maxDataPages);
  const first = (Number(vaddr) / pageBytes) % (maxDataPages - pages + 1);
  const buffer = Buffer.allocUnsafeSlow(bufferBytesOf(pages));
  contents.copy(buffer, pageDataOffset, first * pageBytes, (first + pages) * pageBytes);
  const { frame, flags } = encodePages(buffer, pages);
  link.write(frameTypes.pages, channel, frame, { flags });
}

function serve(connection: Connection): void {
  const link = openConnection(connection, { onFrame: (frame) => answer(link, frame) });
}

const { server } = createDataServer({
  keyOf: () => key,
  onConnection: serve,
  onRefused: () => undefined,
  maxHandshakes: 4,
});
parentPort?.once("message", () => process.exit(0));
server.listen(0, "127.0.0.1", () => parentPort?.postMessage((server.address() as AddressInfo).port));
