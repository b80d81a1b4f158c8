// Regions of the genome as people type them, and the top contexts that lie in one.
import { json } from "./chunk";
import type { Home, Places } from "./format";

/** 0-based and half-open, as in BED. */
export interface Region {
  chrom: string;
  start: number;
  end: number;
}

/** Start sites this near speak of a place (filters.GENE_REACH). */
export const REACH = 100_000;
const MAX_END = 2 ** 29;
const FORM = /^([A-Za-z][\w.]*):([\d,_]+)(?:(?:-|\.\.|–)([\d,_]+))?$/;

/** The region behind "chr22:37,500,000-37,600,000" (1-based, both ends included; one position alone
 * is allowed), or a sentence that says what is wrong with it. */
export function parseRegion(text: string): Region | string {
  const match = FORM.exec(text.trim());
  if (!match) return `${JSON.stringify(text)} is not a region: write chr22:37,500,000-37,600,000`;
  const digits = (part: string) => Number(part.replace(/[,_]/g, ""));
  const first = digits(match[2]!),
    last = match[3] ? digits(match[3]) : first;
  if (first < 1 || last < first || last > MAX_END) {
    return `region ${JSON.stringify(text)} is empty or out of range: write chr22:37,500,000-37,600,000`;
  }
  return { chrom: match[1]!, start: first - 1, end: last };
}

const grouped = (n: number) => String(n).replace(/\B(?=(\d{3})+(?!\d))/g, ",");

/** The browser's form: 1-based, both ends included. */
export const regionName = ({ chrom, start, end }: Region): string =>
  `${chrom}:${grouped(start + 1)}-${grouped(end)}`;

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
