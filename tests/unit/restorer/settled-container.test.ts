import { expect, test } from "vitest";
import type { SeenContainer } from "../../../services/restorer/adapters/engine.ts";
import { settledContainer } from "../../../services/restorer/settled-container.ts";

const running: SeenContainer = { running: true, pid: 7, name: "db", hasStarted: true, exitCode: 0, oomKilled: false };
const killed = { ...running, running: false, exitCode: 137, oomKilled: true };

/** Docker's answers, one after the other; the last stays. */
const engine = (answers: (SeenContainer | undefined)[], exitCode?: number) => ({
  container: () => Promise.resolve(answers.length > 1 ? answers.shift() : answers[0]),
  endOf: () => Promise.resolve({ stopped: false, exitCode }),
});
const look = (answers: (SeenContainer | undefined)[], alive: boolean, exitCode?: number) =>
  settledContainer(engine(answers, exitCode), "id", 0, () => alive);

test("one that lives runs", async () => {
  expect(await look([running], true)).toMatchObject({ running: true });
});

test("one of which Docker has not heard yet that it has ended is waited for", async () => {
  expect(await look([running, running, killed], false)).toEqual({
    ...{ running: false, stopped: false, exitCode: 137, oomKilled: true },
  });
});

test("of one that is removed the events know how it ended, if anything does", async () => {
  expect(await look([undefined], false, 0)).toMatchObject({ running: false, exitCode: 0 });
  expect(await look([undefined], false)).toMatchObject({ running: false, exitCode: -1 });
});
