// The filter language of the atlas (petriscope/atlas/filters.py) in the page: text to a mask of rows.
import { maskOf } from "./filter/masks";
import { parseFilter } from "./filter/parse";
import type { Home } from "./format";

export { FilterError } from "./filter/parse";

export interface Matches {
  mask: Uint8Array;
  count: number;
}

/** Rows that pass `text`; throws FilterError, or ChunkError where a file is missing. */
export async function matches(home: Home, text: string): Promise<Matches> {
  const masks = await Promise.all(parseFilter(home, text).map((clause) => maskOf(home, clause)));
  const mask = masks.pop() ?? new Uint8Array(home.total).fill(1);
  for (const other of masks) for (let i = 0; i < mask.length; i++) mask[i]! &= other[i]!;
  let count = 0;
  for (let i = 0; i < mask.length; i++) count += mask[i]!;
  return { mask, count };
}
