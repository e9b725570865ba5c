import { expect, test } from "vitest";
import fc from "fast-check";
import { LayerFilter } from "../../../services/shipper/core/layer-filter.ts";

const digest = (digit: string): string => `sha256:${digit.repeat(64)}`;
const fileOf = (digit: string): string => `blobs/sha256/${digit.repeat(64)}`;

/** An entry of a tar archive, as ustar lays it out. */
function entry(name: string, body: string, type = "0", prefix = ""): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0, "latin1");
  header.write(`${body.length.toString(8).padStart(11, "0")}\0`, 124, "latin1");
  header.write(type, 156, "latin1");
  header.write("ustar\x0000", 257, "latin1");
  header.write(prefix, 345, "latin1");
  const padded = Buffer.alloc(Math.ceil(body.length / 512) * 512);
  padded.write(body, "latin1");
  return Buffer.concat([header, padded]);
}

function filter(archive: Buffer, digests: readonly string[], chunkBytes: number): Buffer {
  const layers = new LayerFilter(digests);
  const out: Buffer[] = [];
  for (let at = 0; at < archive.length; at += chunkBytes)
    for (const bytes of layers.push(archive.subarray(at, at + chunkBytes))) out.push(Buffer.from(bytes));
  out.push(...layers.end());
  return Buffer.concat(out);
}

const kept = [
  entry("manifest.json", "[]"),
  Buffer.concat([entry("pax", "11 mtime=1\n", "x"), entry(fileOf("b"), "x".repeat(1025))]),
  entry("blobs/sha256/", "", "5"),
  entry("oci-layout", "y".repeat(512)),
];
const end = Buffer.alloc(1024);
const dropped = [
  entry(fileOf("a"), "z".repeat(700)),
  Buffer.concat([entry("pax", "30 something\n", "x"), entry(fileOf("c"), "")]),
  entry("a".repeat(64), "prefixed", "0", "blobs/sha256"),
];

test("the layers named go, with their extended headers; all else stays, wherever the stream is cut", () => {
  const [first, second, third, fourth] = kept as [Buffer, Buffer, Buffer, Buffer];
  const [one, two, three] = dropped as [Buffer, Buffer, Buffer];
  const archive = Buffer.concat([first, one, second, two, third, three, fourth, end]);
  const expected = Buffer.concat([...kept, end]);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: archive.length }), (chunkBytes) => {
      expect(filter(archive, [digest("a"), digest("c")], chunkBytes).equals(expected)).toBe(true);
    }),
  );
});

test("nothing is taken out of an archive that names its layers otherwise, or when none is to go", () => {
  const old = Buffer.concat([entry(`${"a".repeat(64)}/layer.tar`, "layer"), end]);
  expect(filter(old, [digest("a")], 100).equals(old)).toBe(true);
  const archive = Buffer.concat([...dropped, end]);
  expect(filter(archive, [], 77).equals(archive)).toBe(true);
});

test("what is no archive at all passes, to be refused by whoever reads it", () => {
  const text = Buffer.from("no such image");
  expect(filter(text, [digest("a")], 5).equals(text)).toBe(true);
});
