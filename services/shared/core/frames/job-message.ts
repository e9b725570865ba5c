/** Payloads of file jobs' control frames: small and rare, so they are JSON, validated by schema. */
import { z } from "zod";
import { imageIdSchema, volumeNameSchema } from "../../contracts/common.ts";
import { FrameError, frameOf } from "./frame.ts";

/** What a tree is the content of. */
const treeSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("layer") }),
  z.strictObject({ kind: z.literal("volume"), name: volumeNameSchema }),
  /** The directory of CRIU images: contents only. */
  z.strictObject({ kind: z.literal("images") }),
]);
export type TreeName = z.infer<typeof treeSchema>;

/** `trees`: records as in tree-record.ts. `image`: the bytes of `docker save`. */
const jobSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("trees"), trees: z.array(treeSchema).min(1).max(257) }),
  z.strictObject({ kind: z.literal("image"), imageId: imageIdSchema, imageRef: z.string().max(512) }),
]);
export type JobSpec = z.infer<typeof jobSchema>;

const doneSchema = z.strictObject({ files: z.int().min(0) });
const failedSchema = z.strictObject({ message: z.string().max(2_000) });

const encode = (value: unknown): Buffer => frameOf(Buffer.from(JSON.stringify(value)));

function decode<T>(schema: z.ZodType<T>, payload: Buffer, what: string): T {
  let value: unknown;
  try {
    value = JSON.parse(payload.toString());
  } catch {
    throw new FrameError(`${what} is not JSON`);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new FrameError(`${what} is malformed: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

export const encodeJob = (job: JobSpec): Buffer => encode(job);
export const decodeJob = (payload: Buffer): JobSpec => decode(jobSchema, payload, "a job");
export const encodeDone = (done: z.infer<typeof doneSchema>): Buffer => encode(done);
export const decodeDone = (payload: Buffer): z.infer<typeof doneSchema> => decode(doneSchema, payload, "a job's end");
export const encodeFailed = (message: string): Buffer => encode({ message: message.slice(0, 2_000) });
export const decodeFailed = (payload: Buffer): z.infer<typeof failedSchema> =>
  decode(failedSchema, payload, "a job's failure");
