/** Generated parts of a Markdown file, between markers: everything else in it is people's. Pure. */

import type { Picture } from "./charts.ts";

/** One generated part: what stands between the markers of this name, and the pictures that it shows. */
export interface Section {
  readonly name: string;
  readonly content: string;
  readonly pictures: readonly Picture[];
}

export const markers = (name: string): { begin: string; end: string } => ({
  begin: `<!-- ${name}: generated, do not edit -->`,
  end: `<!-- ${name}: end -->`,
});

/** Replaces what stands between the markers of this name. Throws when the file has them not, or not in order. */
export function replaceSection(markdown: string, name: string, content: string): string {
  const { begin, end } = markers(name);
  const from = markdown.indexOf(begin);
  const to = markdown.indexOf(end);
  if (from < 0 || to < from) throw new Error(`there is no section between "${begin}" and "${end}"`);
  return `${markdown.slice(0, from + begin.length)}\n\n${content.trim()}\n\n${markdown.slice(to)}`;
}
