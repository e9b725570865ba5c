import { expect, it } from "vitest";
import koffi from "koffi";
import { canScanPages, openPageScanner } from "../../../services/shared/adapters/pagemap-scan.ts";

/** Its own memory, so it needs no rights; kernels before 6.7 lack the call. */
it.runIf(canScanPages())("finds the pages that were written to, in this thread and aside", async () => {
  const buffer = Buffer.allocUnsafeSlow(64 * 4096);
  const first = Math.ceil(Number(koffi.address(buffer)) / 4096);
  const at = (page: number): number => (first + page) * 4096 - Number(koffi.address(buffer));
  for (const page of [3, 4, 9, 40]) buffer[at(page)] = 1;
  using scanner = openPageScanner(process.pid);
  const found = scanner.ownedPages(first, first + 60);
  const pages = found.flatMap(({ page, pages: count }) => Array.from({ length: count }, (_, i) => page + i - first));
  expect(pages).toEqual(expect.arrayContaining([3, 4, 9, 40]));
  expect(await scanner.ownedPagesAside(first, first + 60)).toEqual(found);
  expect(scanner.ownedPages(0, 1)).toEqual([]);
});
