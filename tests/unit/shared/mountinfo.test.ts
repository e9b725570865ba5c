import { expect, it } from "vitest";
import { overlayDirectories, parseMountinfo } from "../../../services/shared/core/mountinfo.ts";

it("reads mounts with and without optional fields, and names with blanks", () => {
  const text = [
    "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue",
    "37 36 0:52 / /proc/acpi ro,relatime - tmpfs tmpfs rw,inode64",
    "",
    "not a mount",
  ].join("\n");
  expect(parseMountinfo(text)).toEqual([
    { mountPoint: "/mnt 2", type: "ext3", readOnly: false, options: ["rw", "errors=continue"] },
    { mountPoint: "/proc/acpi", type: "tmpfs", readOnly: true, options: ["rw", "inode64"] },
  ]);
});

const overlay = (options: string, type = "overlay") =>
  overlayDirectories({ mountPoint: "/", type, readOnly: false, options: options.split(",") });

it("tells what an overlay merges", () => {
  expect(overlay("rw,lowerdir=/s/2/fs:/s/1/fs,upperdir=/s/3/fs,workdir=/s/3/work")).toEqual({
    upper: "/s/3/fs",
    lowers: ["/s/2/fs", "/s/1/fs"],
  });
  expect(overlay("rw,lowerdir=2/fs:1/fs,upperdir=/s/30/fs")?.lowers).toEqual(["/s/2/fs", "/s/1/fs"]);
  expect(overlay("rw,lowerdir+=/s/2/fs,lowerdir+=/s/1/fs,upperdir=/s/3/fs")?.lowers).toEqual(["/s/2/fs", "/s/1/fs"]);
  expect(overlay("ro,lowerdir=/s/2/fs:/s/1/fs")).toBeUndefined();
  expect(overlay("rw,lowerdir=/a,upperdir=/b", "fuse.overlay")).toBeUndefined();
});
