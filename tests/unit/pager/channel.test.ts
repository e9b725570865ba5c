import { PassThrough } from "node:stream";
import { createServer, connect, type Socket } from "node:net";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openChannel } from "../../../services/pager/page-daemon/channel.ts";

const messages = [{ kind: "a", text: "line\nbreak" }, { kind: "b" }, [1, "ü", null]];
const bytes = Buffer.from(messages.map((message) => `${JSON.stringify(message)}\n`).join(""));

test("messages are whole wherever the bytes are cut", async () => {
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const stream = new PassThrough();
    const heard: unknown[] = [];
    openChannel(stream, (message) => heard.push(message));
    stream.write(bytes.subarray(0, cut));
    stream.write(bytes.subarray(cut));
    await new Promise((resolve) => setImmediate(resolve));
    expect(heard).toEqual(messages);
  }
});

test("who speaks something else is cut off", async () => {
  const stream = new PassThrough();
  const channel = openChannel(stream, () => expect.unreachable());
  stream.write("GET / HTTP/1.1\r\n");
  await channel.closed;
});

test("both sides speak; the end of one is told to the other", async () => {
  const directory = await mkdtemp(join(tmpdir(), "channel-"));
  const server = createServer().listen(join(directory, "s"));
  await once(server, "listening");
  const client = connect(join(directory, "s"));
  const [accepted] = (await once(server, "connection")) as [Socket];
  const heard: unknown[] = [];
  const ours = openChannel<string>(client, (message) => heard.push(message));
  const theirs = openChannel<string>(accepted, (message) => {
    heard.push(message);
    theirs.send("answer");
  });
  ours.send("question");
  await expect.poll(() => heard).toEqual(["question", "answer"]);
  ours.close();
  await theirs.closed;
  theirs.send("into the void");
  server.close();
  await rm(directory, { recursive: true });
});
