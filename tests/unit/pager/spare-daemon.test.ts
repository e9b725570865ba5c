import { expect, test } from "vitest";
import { EarlyMessages, type UnusedDaemon } from "../../../services/pager/daemon-page-server.ts";
import type { ToDaemon } from "../../../services/pager/page-daemon/messages.ts";
import { SpareDaemon } from "../../../services/pager/spare-daemon.ts";

interface Started {
  unused: UnusedDaemon;
  end: () => void;
  killed: boolean;
  asked: ToDaemon[];
}

function createSupply(): { spare: SpareDaemon; started: Started[] } {
  const started: Started[] = [];
  const spare = new SpareDaemon(() => {
    const { promise: ended, resolve } = Promise.withResolvers<string>();
    const one: Started = {
      killed: false,
      asked: [],
      end: () => resolve("exit code 1"),
      unused: {
        heard: new EarlyMessages(),
        daemon: {
          pid: undefined,
          send: () => undefined,
          ended,
          ask: (message) => {
            one.asked.push(message);
            return Promise.resolve();
          },
          kill: () => {
            one.killed = true;
            resolve("signal SIGKILL");
            return Promise.resolve();
          },
          hurry: () => undefined,
          leave: () => undefined,
        },
      },
    };
    started.push(one);
    return one.unused;
  });
  return { spare, started };
}

test("there is one spare, however often it is asked for, and each is given away once", () => {
  const { spare, started } = createSupply();
  spare.restock(true);
  spare.restock(true);
  expect(started).toHaveLength(1);
  expect(spare.take()).toBe(started[0]?.unused);
  expect(spare.take()).toBe(started[1]?.unused);
  expect(started).toHaveLength(2);
});

test("a spare rehearses, one that is needed at once does not, nor does one while others need the processors", () => {
  const { spare, started } = createSupply();
  spare.restock(true);
  spare.take();
  spare.take();
  spare.restock(false);
  expect(started.map(({ asked }) => asked)).toEqual([[{ kind: "rehearse" }], [], []]);
});

test("a spare that has ended is not given away", async () => {
  const { spare, started } = createSupply();
  spare.restock(true);
  started[0]?.end();
  await started[0]?.unused.daemon.ended;
  expect(spare.take()).toBe(started[1]?.unused);
});

test("the end of one that was given away does not touch the next spare", async () => {
  const { spare, started } = createSupply();
  spare.restock(true);
  spare.take();
  spare.restock(true);
  started[0]?.end();
  await started[0]?.unused.daemon.ended;
  expect(spare.take()).toBe(started[1]?.unused);
});

test("a stop ends the spare, no other is started, and what was given away lives on", async () => {
  const { spare, started } = createSupply();
  spare.restock(true);
  spare.take();
  spare.restock(true);
  await spare.stop();
  spare.restock(true);
  expect(started.map(({ killed }) => killed)).toEqual([false, true]);
});
