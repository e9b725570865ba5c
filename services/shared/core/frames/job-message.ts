/**
 * Payloads of file jobs. A job's frames go over several connections, so each of jobBegin, jobData, jobEnd and jobCancel
 * begins with its number within the job, from 0; what follows is in that order whatever the way it took.
 *
 *     jobBegin, jobEnd, jobCancel   u32 number, JSON
 *     jobData                       u32 number, data: by the frame's flags as it is, or as a zstd frame
 *     jobAck                        u32: all frames of the job below this number were applied
 *     jobState                      JSON: which frames have arrived; told on each new connection
 *     jobDone, jobFailed            JSON
 *
 * Control frames are small and rare, so they are JSON, validated by schema.
 */
import { z } from "zod";
import { bindPathSchema, countSchema, imageIdSchema, volumeNameSchema } from "../../contracts/common.ts";
import { allocateFrame, FrameError, frameHeaderBytes, frameOf } from "./frame.ts";

const numberBytes = 4;
/** What stands before a job frame's own bytes: the frame's header, and the number. */
export const jobHeaderBytes = frameHeaderBytes + numberBytes;
/** Bytes of one job that may be under way, sent and not applied: what a receiver must be ready to keep. */
export const maxUnappliedBytes = 8 * 1024 * 1024;
/** Files of one job that others may be copied from: what a receiver must be ready to remember. */
export const maxOrigins = 65_536;
export const maxOriginPathBytes = 16 * 1024 * 1024;
/** Files of one job that the destination may say it could not make of others: beyond that it fails the job. */
export const maxMissing = 4_096;
/** Most bytes of a probe. */
export const maxProbeBytes = 32 * 1024 * 1024;
export const jobDataFlags = { zstd: 1 } as const;

/** A frame for `bytes` of a job, behind the room that its number takes. */
export const allocateJobFrame = (bytes: number): Buffer => allocateFrame(numberBytes + bytes);

export function numberJobFrame(frame: Buffer, number: number): void {
  frame.writeUInt32LE(number, frameHeaderBytes);
}

/** Splits a job frame's payload. */
export function readJobPayload(payload: Buffer): { number: number; body: Buffer } {
  if (payload.length < numberBytes) throw new FrameError("a frame of a job has no number");
  return { number: payload.readUInt32LE(0), body: payload.subarray(numberBytes) };
}

/** A container whose log is kept in more files than these does not get the oldest. */
export const maxLogFiles = 1_000;
const logFileSchema = z.int().min(1).max(maxLogFiles);

/** What a tree is the content of. */
const treeSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("layer") }),
  z.strictObject({ kind: z.literal("volume"), name: volumeNameSchema }),
  z.strictObject({ kind: z.literal("bind"), path: bindPathSchema }),
  /** The directory of CRIU images: contents only. */
  z.strictObject({ kind: z.literal("images") }),
  /** What of them was sent while the container ran: CRIU's `parent` images. */
  z.strictObject({ kind: z.literal("shared") }),
]);
export type TreeName = z.infer<typeof treeSchema>;

/**
 * `trees`: records as in tree-record.ts. `image`: the bytes of `docker save`, without some layers. `log`: those of a log file
 * of the container, from byte `from` of it on as the destination has it: file 0 is the one that Docker writes to, 1 was rotated last; `packed` by gzip.
 * Of a rotated file the bytes before `from` are those that have come as file 0. `logRenames`: rotated files of which the destination
 * has each under the number that it had before; without data, the highest number first.
 * `probe`: bytes that nobody keeps.
 */
const jobSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("trees"), trees: z.array(treeSchema).min(1).max(321) }),
  z.strictObject({
    kind: z.literal("image"),
    imageId: imageIdSchema,
    imageRef: z.string().max(512),
    layersLeftOut: z.array(imageIdSchema).max(512),
  }),
  z.strictObject({
    kind: z.literal("log"),
    file: z.int().min(0).max(maxLogFiles),
    packed: z.boolean(),
    from: countSchema,
  }),
  z.strictObject({
    kind: z.literal("logRenames"),
    files: z
      .array(z.strictObject({ file: logFileSchema, was: logFileSchema, packed: z.boolean() }))
      .min(1)
      .max(maxLogFiles),
  }),
  z.strictObject({ kind: z.literal("probe") }),
]);
export type JobSpec = z.infer<typeof jobSchema>;

const doneSchema = z.strictObject({
  /** Written. */
  files: z.int().min(0),
  /** Files without their contents: which `same` records of the job, counted from 0, were not the same as anything that is there. */
  missing: z.array(z.int().min(0)).max(maxMissing).optional(),
});
export type JobDone = z.infer<typeof doneSchema>;
const failedSchema = z.strictObject({ message: z.string().max(2_000) });

/** Most frames that may have arrived before one that is missing. */
export const maxEarlyFrames = 4_096;
const stateSchema = z.strictObject({
  jobs: z
    .array(
      z.strictObject({
        job: z.int().min(1),
        /** All frames below this number have arrived, and these. */
        next: z.int().min(0),
        early: z.array(z.int().min(0)).max(maxEarlyFrames),
      }),
    )
    .max(64),
});
export type JobState = z.infer<typeof stateSchema>;

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

export function encodeJob(job: JobSpec): Buffer {
  const text = Buffer.from(JSON.stringify(job));
  const frame = allocateJobFrame(text.length);
  text.copy(frame, jobHeaderBytes);
  return frame;
}
export const decodeJob = (payload: Buffer): JobSpec => decode(jobSchema, payload, "a job");
export const encodeDone = (done: JobDone): Buffer => encode(done);
export const decodeDone = (payload: Buffer): JobDone => decode(doneSchema, payload, "a job's end");
export const encodeFailed = (message: string): Buffer => encode({ message: message.slice(0, 2_000) });
export const decodeFailed = (payload: Buffer): z.infer<typeof failedSchema> =>
  decode(failedSchema, payload, "a job's failure");
export const encodeState = (state: JobState): Buffer => encode(state);
export const decodeState = (payload: Buffer): JobState => decode(stateSchema, payload, "the state of jobs");

export function encodeAck(next: number): Buffer {
  const frame = allocateFrame(numberBytes);
  frame.writeUInt32LE(next, frameHeaderBytes);
  return frame;
}

export function decodeAck(payload: Buffer): number {
  if (payload.length !== numberBytes) throw new FrameError(`an acknowledgement has ${numberBytes} bytes`);
  return payload.readUInt32LE(0);
}
