// Top contexts in a region of the genome.
import { json } from "./chunk";
import type { Region } from "./filter/parse";
import type { Home, Places } from "./format";

/** Start sites this near speak of a place (filters.GENE_REACH). */
export const REACH = 100_000;

/** A top context in a region. */
export interface Placed {
  chrom: string;
  start: number;
  end: number;
  row: number;
  unit: number;
  activation: number;
}

/** Top contexts that overlap a region, strongest first. */
export async function contextsIn(home: Home, region: Region): Promise<Placed[]> {
  const files = home.places.flatMap(([chrom, first, , end], k) =>
    chrom === region.chrom && first < region.end && end > region.start ? [k] : [],
  );
  const found: Placed[] = [];
  for (const places of await Promise.all(files.map((k) => json<Places>(`place/${k}`)))) {
    for (let i = 0; i < places.start.length; i++) {
      if (
        places.chrom[i] !== region.chrom ||
        places.start[i]! >= region.end ||
        places.end[i]! <= region.start
      )
        continue;
      found.push({
        chrom: region.chrom,
        start: places.start[i]!,
        end: places.end[i]!,
        row: places.row[i]!,
        unit: places.unit[i]!,
        activation: places.activation[i]!,
      });
    }
  }
  return found.sort((a, b) => b.activation - a.activation || a.row - b.row);
}
