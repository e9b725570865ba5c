import { expect, it } from "vitest";
import { parseMountinfo } from "../../../services/dumper/core/mountinfo.ts";

it("reads mounts with and without optional fields, and names with blanks", () => {
  const text = [
    "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue",
    "37 36 0:52 / /proc/acpi ro,relatime - tmpfs tmpfs rw,inode64",
    "",
    "not a mount",
  ].join("\n");
  expect(parseMountinfo(text)).toEqual([
    { mountPoint: "/mnt 2", type: "ext3", readOnly: false },
    { mountPoint: "/proc/acpi", type: "tmpfs", readOnly: true },
  ]);
});
