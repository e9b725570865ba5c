/** How often files are sent while the container runs: each pass leaves less to the freeze, as long as it is shorter than the last. */

export interface PassOverFiles {
  ms: number;
  bytes: number;
}

const mostPasses = 4;
/** What has changed during a shorter one is little, and found inside the freeze in no time. */
const worthwhileMs = 300;
/** So much less must have been sent than by the pass before: else the files change as fast as they are sent. */
const shrinks = 0.5;

/** Whether one more is to come before the freeze, after these. */
export function isPassDue(passes: readonly PassOverFiles[]): boolean {
  const [last, before] = [passes.at(-1), passes.at(-2)];
  if (last === undefined) return true;
  if (passes.length >= mostPasses || last.ms < worthwhileMs) return false;
  return before === undefined || last.bytes <= shrinks * before.bytes;
}
