/** Keeps the kernel's OOM killer away from processes whose end would cost a container. */
import { writeFileSync } from "node:fs";

/** Without CAP_SYS_RESOURCE, or when there is no such process any more, it changes nothing. */
export function spareFromOomKiller(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, "-1000");
  } catch {
    // As good as it gets.
  }
}
