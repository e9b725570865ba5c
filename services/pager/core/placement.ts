/** Where pages of the images belong in the restored processes. */
import type { PageSpan } from "../../shared/core/frames/page-message.ts";
import { pageBytes } from "../../shared/core/page-server/codec.ts";
import type { Place } from "./missing-pages.ts";

/** A place in one of the processes. */
export interface SpacePlace extends Place {
  /** Number of the address space: never used again, unlike its descriptor. */
  space: number;
  fd: number;
}

/** All places of some pages, as far as was heard when `generation` was the latest. */
export interface Placement {
  generation: number;
  places: readonly SpacePlace[];
}

/** Pages that were filled in, or found there. */
export interface Filled {
  space: number;
  page: number;
  pages: number;
  isZero: boolean;
}

/** Adds to a list what often continues its last entry. */
export function noteFilled(filled: Filled[], next: Filled): void {
  const last = filled.at(-1);
  const goesOn = last?.space === next.space && last.isZero === next.isZero && last.page + last.pages === next.page;
  if (last !== undefined && goesOn) last.pages += next.pages;
  else filled.push(next);
}

/** Part of a place whose contents stand together. */
export interface Part extends Place {
  /** Where in the payload the contents begin; undefined when they are zero. */
  offset: number | undefined;
}

/** Cuts a place into parts by an answer whose first page is `image`; no span may be "same". */
export function partsOf(place: Place, image: number, spans: readonly PageSpan[]): Part[] {
  return spans.flatMap(({ first, pages, at }) => {
    const start = Math.max(place.image, image + first);
    const end = Math.min(place.image + place.pages, image + first + pages);
    if (start >= end) return [];
    const offset = typeof at === "number" ? at + (start - image - first) * pageBytes : undefined;
    return [{ page: place.page + start - place.image, image: start, pages: end - start, offset }];
  });
}
