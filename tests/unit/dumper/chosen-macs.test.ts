import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readChosenMacs } from "../../../services/dumper/adapters/chosen-macs.ts";
import { temporaryDirectory } from "../../helpers/temporary-directory.ts";

const id = "ab".repeat(32);

test("is told of each network whose address the user chose; nothing where Docker's file is not as it was", async () => {
  const rootDir = temporaryDirectory("chosen-macs-");
  const dir = join(rootDir, "containers", id);
  mkdirSync(dir, { recursive: true });
  const read = (kept: unknown): Promise<Map<string, string>> => {
    writeFileSync(join(dir, "config.v2.json"), JSON.stringify(kept));
    return readChosenMacs(rootDir, id);
  };
  expect(await readChosenMacs(rootDir, id)).toEqual(new Map());
  const made = { MacAddress: "02:42:ac:11:00:0c", DesiredMacAddress: "" };
  const chosen = { MacAddress: "02:00:00:00:00:01", DesiredMacAddress: "02:00:00:00:00:01" };
  const Networks = { front: made, back: chosen, older: { MacAddress: "02:42:ac:11:00:0d" } };
  expect(await read({ ID: id, NetworkSettings: { Bridge: "", Networks } })).toEqual(
    new Map([["back", "02:00:00:00:00:01"]]),
  );
  expect(await read({ NetworkSettings: null })).toEqual(new Map());
});
