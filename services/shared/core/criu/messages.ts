/**
 * The few fields we read of the few messages we read. Field numbers are CRIU's; a field that is not here is skipped.
 * Never encode again what was decoded with these: what they do not know would be lost (timerfd.ts edits bytes instead).
 */
import protobuf from "protobufjs";
import { CriuImageError } from "./image.ts";

type Rule = "required" | "optional" | "repeated";
type FieldSpec = readonly [id: number, type: string, rule: Rule];

function message(name: string, fields: Record<string, FieldSpec>, nested: protobuf.Type[] = []): protobuf.Type {
  const type = new protobuf.Type(name);
  for (const [field, [id, fieldType, rule]] of Object.entries(fields)) {
    type.add(new protobuf.Field(field, id, fieldType, rule));
  }
  // A type resolves its fields only inside a root.
  const root = new protobuf.Root().add(type);
  nested.forEach((inner) => root.add(inner));
  // Compiles the decoder now, not when the first image is read: that is inside a migration's downtime.
  return type.setup();
}

const vma = new protobuf.Type("vma_entry")
  .add(new protobuf.Field("start", 1, "uint64", "required"))
  .add(new protobuf.Field("end", 2, "uint64", "required"))
  .add(new protobuf.Field("flags", 6, "uint32", "required"))
  .add(new protobuf.Field("status", 7, "uint32", "required"));

export const messages = {
  inventory: message("inventory_entry", {
    imgVersion: [1, "uint32", "required"],
    nsPerId: [4, "bool", "optional"],
    dumpUptime: [8, "uint64", "optional"],
    tcpClose: [10, "bool", "optional"],
  }),
  pstree: message("pstree_entry", {
    pid: [1, "uint32", "required"],
    ppid: [2, "uint32", "required"],
    threads: [5, "uint32", "repeated"],
  }),
  ids: message("task_kobj_ids_entry", { netNsId: [6, "uint32", "optional"] }),
  pagemapHead: message("pagemap_head", { pagesId: [1, "uint32", "required"] }),
  pagemap: message("pagemap_entry", {
    vaddr: [1, "uint64", "required"],
    compatPages: [2, "uint32", "required"],
    inParent: [3, "bool", "optional"],
    flags: [4, "uint32", "optional"],
    pages: [5, "uint64", "optional"],
  }),
  mm: message("mm_entry", { vmas: [14, "vma_entry", "repeated"] }, [vma]),
};

/** The value protobufjs gives for a uint64: its Long class where that is installed, else a number. */
export type Wide = number | { toNumber(): number };
/** Exact for every multiple of 4096 below 2^65, so for every page-aligned address. */
export const toNumber = (value: Wide): number => (typeof value === "number" ? value : value.toNumber());

/** Decodes one message; `T` names the fields its descriptor has. Throws CriuImageError. */
export function decode(type: protobuf.Type, bytes: Buffer): protobuf.Message {
  try {
    return type.decode(bytes);
  } catch (cause) {
    throw new CriuImageError(`a ${type.name} does not decode: ${cause instanceof Error ? cause.message : "?"}`, {
      cause,
    });
  }
}
