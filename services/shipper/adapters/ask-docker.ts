/** A question to Docker: bounded in time, its failure in our terms. */
import { dockerError } from "../../shared/adapters/docker.ts";
import { DmigrateError } from "../../shared/errors.ts";

const timeoutMs = 30_000;

/** `what` names the thing asked about. Throws what `dockerError` makes of a failure, or `timeout`. */
export async function askDocker<T>(what: string, answer: Promise<T>, withinMs = timeoutMs): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new DmigrateError("timeout", `${what}: Docker did not answer within ${withinMs} ms`)),
      withinMs,
    );
  });
  try {
    return await Promise.race([answer, late]);
  } catch (error) {
    throw dockerError(error, what);
  } finally {
    clearTimeout(timer);
  }
}
