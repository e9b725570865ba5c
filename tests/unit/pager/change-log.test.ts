import { expect, test } from "vitest";
import { ChangeLog } from "../../../services/pager/core/change-log.ts";

const at = (page: number, pages: number) => expect.objectContaining({ page, pages }) as unknown;

test("pages go the way of the changes that came after them, and of no earlier one", () => {
  const log = new ChangeLog();
  log.note(1, { kind: "unmap", page: 10, pages: 4 });
  log.note(2, { kind: "move", from: 10, to: 50, pages: 4 });
  log.note(3, { kind: "remove", page: 51, pages: 1 });
  expect(log.follow(0, { page: 10, pages: 4 })).toEqual([]);
  expect(log.follow(1, { page: 10, pages: 4 })).toEqual([at(50, 1), at(52, 2)]);
  expect(log.follow(2, { page: 10, pages: 4 })).toEqual([at(10, 4)]);
  expect(log.follow(1, { page: 8, pages: 3 })).toEqual(expect.arrayContaining([at(8, 2), at(50, 1)]));
});

test("of pages from before what it has forgotten it says nothing", () => {
  const log = new ChangeLog(2);
  for (const generation of [1, 2, 3]) log.note(generation, { kind: "unmap", page: 90, pages: 1 });
  expect(log.follow(0, { page: 10, pages: 4 })).toEqual([]);
  expect(log.follow(1, { page: 10, pages: 4 })).toEqual([at(10, 4)]);
});
