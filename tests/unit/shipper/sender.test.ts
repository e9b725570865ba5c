import { expect, test } from "vitest";
import type { FramedLink } from "../../../services/shared/link/framed.ts";
import { frameTypes } from "../../../services/shared/core/frames/frame.ts";
import { Sender } from "../../../services/shipper/sender.ts";

test("items that cost nothing to send keep the thread to themselves no longer than a few of them take", async () => {
  const sent: number[] = [];
  // A link that takes all at once.
  const link: FramedLink = {
    ...{ bytesSent: 0, bytesReceived: 0, pendingBytes: 0, open: true },
    closed: new Promise(() => undefined),
    write: (_type, channel, _frame, options) => {
      sent.push(channel);
      options?.onWritten?.();
    },
    close: () => undefined,
  };
  const sender = new Sender(link, 1024);
  for (let channel = 0; channel < 100; channel++)
    sender.enqueue(3, 20, () => ({ type: frameTypes.pages, channel, frame: Buffer.alloc(20) }));
  const turns: number[] = [];
  while (sent.length < 100) {
    turns.push(sent.length);
    await new Promise((resolve) => setImmediate(resolve));
  }
  const most = [...turns, 100].reduce((all, now, at) => Math.max(all, now - (turns[at - 1] ?? 0)), 0);
  expect(most).toBeLessThan(40);
  expect(sent).toEqual(Array.from({ length: 100 }, (_, channel) => channel));
  await sender.shorterThan(1);
});
