/** With a real userfaultfd: the kernel tells, and takes, as it does for a restored process. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Epoll } from "../../../services/pager/adapters/epoll.ts";
import { FillLock, fillLockBytes, FillLocks } from "../../../services/pager/adapters/fill-lock.ts";
import { AddressSpaces, type AddressSpacesOptions } from "../../../services/pager/page-daemon/address-spaces.ts";
import { fillPlaced } from "../../../services/pager/page-daemon/fill-placed.ts";
import { pageBytes } from "../../../services/shared/core/page-server/codec.ts";
import { canUserfault, openUserfaultRegion, useMemory, type UserfaultRegion } from "../../helpers/userfault-region.ts";

const pid = 7;
const pages = 64;

/** What the first word of page `at` of the memory was at the source. */
const wordOf = (at: number): number => 0x1000 + at;
const words = (from: number, count: number): number[] => Array.from({ length: count }, (_, at) => wordOf(from + at));

let region: UserfaultRegion;
let epoll: Epoll;
let spaces: AddressSpaces;
let faults: number[];
let lock: FillLock;

/** Fills pages from `image` on with what they were, as an answer of the source does. */
async function arrive(image: number, count: number): Promise<void> {
  const payload = Buffer.alloc(4 + count * pageBytes);
  for (let at = 0; at < count; at += 1) payload.writeUInt32LE(wordOf(image + at - region.first), 4 + at * pageBytes);
  const spans = [{ first: 0, pages: count, at: 4 }];
  while (!spaces.fill({ pid, page: image, pages: count, spans, payload, provisional: false })) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    spaces.hearAll();
  }
}

/** Also of memory that a test adds by itself. */
const options = (locks: FillLocks): AddressSpacesOptions => ({
  watch: (fd) => epoll.add(fd),
  unwatch: (fd) => epoll.delete(fd),
  lock: locks,
  onFault: (_pid, image) => {
    faults.push(image - region.first);
    void arrive(image, 1);
  },
  // Nothing but faults brings pages here, so that each is seen.
  onNear: () => undefined,
});

beforeEach(() => {
  faults = [];
  lock = new FillLock(new SharedArrayBuffer(fillLockBytes));
  const locks = new FillLocks();
  locks.add(lock);
  region = openUserfaultRegion(pages);
  epoll = new Epoll({
    onReady: (fds) => {
      for (const fd of fds) spaces.hear(fd);
    },
    isExpecting: () => false,
  });
  spaces = new AddressSpaces(options(locks));
  spaces.learn([{ pid, ranges: [{ page: region.first, pages }] }]);
  spaces.adopt(pid, region.fd);
});
afterEach(() => epoll.stop());

describe.skipIf(!canUserfault())("a descriptor that is held elsewhere too", () => {
  let asked: string[];
  let isHeld: boolean;
  beforeEach(() => {
    [asked, isHeld] = [[], true];
    const locks = new FillLocks();
    locks.add(lock);
    const holder = {
      hold: (id: number) => {
        asked.push(`hold ${id}`);
        return isHeld;
      },
      letGo: (id: number) => void asked.push(`let go ${id}`),
    };
    epoll.delete(region.fd);
    spaces = new AddressSpaces({ ...options(locks), holder });
    spaces.learn([{ pid, ranges: [{ page: region.first, pages }] }]);
    spaces.adopt(pid, region.fd);
  });

  test("is served until that is let go, and closed then", async () => {
    spaces.finish();
    await arrive(region.first, pages);
    expect(asked).toEqual(["hold 1", "let go 1"]);
    spaces.closeWhole();
    expect(asked).toHaveLength(2);
    const found = await useMemory([
      { kind: "forget", page: region.first, pages: 1 },
      { kind: "read", page: region.first, pages: 2 },
    ]);
    expect(found).toEqual([0, wordOf(1)]);
    expect(spaces.empty).toBe(false);
    spaces.letGone(2);
    expect(spaces.empty).toBe(false);
    spaces.letGone(1);
    expect(spaces.empty).toBe(true);
  });

  test("is not let go before nothing is missing", async () => {
    spaces.finish();
    await arrive(region.first, pages - 1);
    spaces.letGone(1);
    expect(asked).toEqual(["hold 1"]);
    expect(spaces.empty).toBe(false);
  });

  test("is held anew by whoever comes, and closed where there is nobody any more", async () => {
    spaces.finish();
    await arrive(region.first, pages);
    spaces.holdAnew();
    expect(asked).toEqual(["hold 1", "let go 1", "hold 1", "let go 1"]);
    isHeld = false;
    spaces.holdAnew();
    expect(spaces.empty).toBe(true);
  });
});

describe.skipIf(!canUserfault())("the memory of a restored process", () => {
  test("is there when it is touched", async () => {
    const found = await useMemory([{ kind: "read", page: region.first, pages: 5 }]);
    expect(found).toEqual(words(0, 5));
    expect(faults).toEqual([0, 1, 2, 3, 4]);
    expect(spaces).toMatchObject({ pagesFaulted: 5, pagesPrefetched: 0 });
    expect(spaces.faultLatency.count).toBe(5);
  });

  test("is zero where the process has given it up, whatever arrives later", async () => {
    await useMemory([{ kind: "forget", page: region.first + 8, pages: 2 }]);
    await arrive(region.first, pages);
    const found = await useMemory([{ kind: "read", page: region.first + 7, pages: 4 }]);
    expect(found).toEqual([wordOf(7), 0, 0, wordOf(10)]);
    expect(faults).toEqual([]);
  });

  test("stays one mapping where parts of it were given up: it can be moved whole", async () => {
    const given = { kind: "forget", page: region.first + 8, pages: 2 } as const;
    const moved = { kind: "move", page: region.first, pages, to: region.spare } as const;
    const found = await useMemory([given, moved, { kind: "read", page: region.spare + 7, pages: 4 }]);
    expect(found).toEqual([wordOf(7), 0, 0, wordOf(10)]);
    expect(faults).toEqual([7, 10]);
  });

  test("is one mapping again where a part was protected before any of it was there", async () => {
    spaces.finish();
    await useMemory([{ kind: "protect", page: region.first + 8, pages: 8 }]);
    await arrive(region.first, pages - 1);
    const found = await useMemory([
      { kind: "unprotect", page: region.first + 8, pages: 8 },
      { kind: "move", page: region.first, pages, to: region.spare },
      { kind: "read", page: region.spare + 7, pages: 2 },
    ]);
    expect(found).toEqual(words(7, 2));
  });

  test("follows a move, by fault and by what arrives", async () => {
    const to = region.spare + 3;
    const moved = await useMemory([
      { kind: "move", page: region.first + 16, pages: 8, to },
      { kind: "read", page: to, pages: 2 },
    ]);
    expect(moved).toEqual(words(16, 2));
    await arrive(region.first, pages);
    expect(await useMemory([{ kind: "read", page: to, pages: 8 }])).toEqual(words(16, 8));
    expect(faults).toEqual([16, 17]);
  });

  test("is let go once nothing is missing, though parts were unmapped and split", async () => {
    await useMemory([
      { kind: "unmap", page: region.first + 24, pages: 3 },
      { kind: "move", page: region.first + 40, pages: 1, to: region.spare },
    ]);
    await arrive(region.first, 30);
    spaces.finish();
    expect(spaces.empty).toBe(false);
    await arrive(region.first + 30, pages - 30);
    expect(spaces.empty).toBe(true);
    const found = await useMemory([
      { kind: "read", page: region.first, pages: 24 },
      { kind: "read", page: region.first + 27, pages: 13 },
      { kind: "read", page: region.spare, pages: 1 },
    ]);
    expect(found).toEqual([...words(0, 24), ...words(27, 13), wordOf(40)]);
  });

  test("has all its zero pages without their contents", async () => {
    const spans = [{ first: 0, pages, at: "zero" as const }];
    const payload = Buffer.alloc(4);
    expect(spaces.fill({ pid, page: region.first, pages, spans, payload, provisional: false })).toBe(true);
    expect(await useMemory([{ kind: "read", page: region.first, pages }])).toEqual(words(0, pages).fill(0));
    expect(spaces.zeroPages).toBe(pages);
  });

  describe("filled in by another thread", () => {
    /** What that thread gets: pages from `image` on, in memory that both see. */
    const contents = (image: number, count: number) => {
      const memory = new SharedArrayBuffer(count * pageBytes);
      const bytes = Buffer.from(memory);
      for (let at = 0; at < count; at += 1) bytes.writeUInt32LE(wordOf(image + at - region.first), at * pageBytes);
      return { spans: [{ first: 0, pages: count, at: 0 }], memory };
    };
    const place = (image: number, count: number) => {
      const placement = spaces.place(pid, [{ page: image, pages: count }]);
      if (placement === undefined) throw new Error("the memory is changing");
      return placement;
    };

    test("is there, and missing no more once that is noted", async () => {
      const placement = place(region.first, 40);
      const result = fillPlaced(lock, placement, region.first, contents(region.first, 40));
      expect(result).toMatchObject({ outcome: "whole", filled: [{ page: region.first, pages: 40, isZero: false }] });
      spaces.noteFilled({ generation: placement.generation, filled: result.filled });
      expect(spaces.place(pid, [{ page: region.first, pages }])?.places).toMatchObject([
        { page: region.first + 40, pages: 24 },
      ]);
      expect(await useMemory([{ kind: "read", page: region.first, pages: 40 }])).toEqual(words(0, 40));
      expect(faults).toEqual([]);
    });

    test("is not filled in where it was placed before a change was heard", async () => {
      const before = place(region.first, pages);
      await useMemory([{ kind: "forget", page: region.first + 8, pages: 2 }]);
      const result = fillPlaced(lock, before, region.first, contents(region.first, pages));
      expect(result).toEqual({ outcome: "stale", filled: [] });
      const found = await useMemory([{ kind: "read", page: region.first + 8, pages: 2 }]);
      expect(found).toEqual([0, 0]);
    });

    test("is known to be where it was moved to, though the word of it comes after the move", async () => {
      const placement = place(region.first + 16, 8);
      const { filled } = fillPlaced(lock, placement, region.first + 16, contents(region.first + 16, 8));
      // What is not filled in is moved to the place of what is.
      await useMemory([
        { kind: "move", page: region.first + 16, pages: 8, to: region.spare },
        { kind: "move", page: region.first + 32, pages: 8, to: region.first + 16 },
      ]);
      spaces.noteFilled({ generation: placement.generation, filled });
      expect(place(region.first + 16, 8).places).toEqual([]);
      expect(place(region.first + 32, 8).places).toMatchObject([{ page: region.first + 16, pages: 8 }]);
      const found = await useMemory([
        { kind: "read", page: region.spare, pages: 8 },
        { kind: "read", page: region.first + 16, pages: 8 },
      ]);
      expect(found).toEqual([...words(16, 8), ...words(32, 8)]);
    });

    test("leaves to the hearing thread what no mapping holds", () => {
      const placement = place(region.first, pages);
      const nowhere = placement.places.map((at) => ({ ...at, page: at.page + 1_000_000 }));
      const result = fillPlaced(lock, { ...placement, places: nowhere }, region.first, contents(region.first, pages));
      expect(result).toEqual({ outcome: "hindered", filled: [] });
    });
  });
});
