/** What the engine says while it builds, pulls, imports or loads: followed to its end, and its errors made ours. */
import type Docker from "dockerode";

import type { LabContext } from "./context.ts";
import { lastLines } from "./processes.ts";

interface ProgressEvent {
  readonly stream?: string;
  readonly error?: string;
}

/** Follows a progress stream to its end. An error in it throws, with the last lines of the output that led there. */
export function followProgress(docker: Docker, stream: NodeJS.ReadableStream, context: LabContext): Promise<void> {
  return new Promise((resolve, reject) => {
    let output = "";
    let failure: string | undefined;
    const abort = (): void => {
      (stream as NodeJS.ReadableStream & { destroy?: () => void }).destroy?.();
      reject(context.signal?.reason as Error);
    };
    context.signal?.addEventListener("abort", abort, { once: true });
    docker.modem.followProgress(
      stream,
      (error) => {
        context.signal?.removeEventListener("abort", abort);
        if (error || failure !== undefined)
          reject(new Error(`${failure ?? String(error)}\n${lastLines(output)}`.trim()));
        else resolve();
      },
      (event: ProgressEvent) => {
        if (event.stream !== undefined) output = (output + event.stream).slice(-16_384);
        if (event.error !== undefined) failure = event.error;
      },
    );
  });
}

/** The id of an image, or undefined when the engine does not have it. */
export async function imageId(docker: Docker, image: string): Promise<string | undefined> {
  try {
    return (await docker.getImage(image).inspect()).Id;
  } catch (error) {
    if ((error as { statusCode?: number }).statusCode === 404) return undefined;
    throw error;
  }
}
