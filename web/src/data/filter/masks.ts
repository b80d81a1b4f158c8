// Clauses of the filter language to masks: a byte per row, 1 where the clause is true. SQL's third
// truth value needs no place here: what is not true (a comparison with nothing) is 0, and "not" is
// the complement, as NOT COALESCE(..., 0).
import { items, json } from "../chunk";
import { column, MISSING, type Values } from "../columns";
import {
  FLAG,
  type CellTypes,
  type Genes,
  type Home,
  type Listings,
  type Places,
  type Posts,
  type Terms,
} from "../format";
import { rowOf } from "../rows";
import type { Clause, Flag, Order, Region } from "./parse";
import { folded, liked, small } from "./words";

/** Bases around a start site within which a context is near its gene. */
const REACH = 100_000;

export async function maskOf(home: Home, clause: Clause): Promise<Uint8Array> {
  const mask = new Uint8Array(home.total);
  switch (clause.is) {
    case "not": {
      const inner = await maskOf(home, clause.of);
      for (let i = 0; i < mask.length; i++) mask[i] = 1 - inner[i]!;
      return mask;
    }
    case "any": {
      for (const inner of await Promise.all(clause.of.map((part) => maskOf(home, part)))) {
        for (let i = 0; i < mask.length; i++) mask[i]! |= inner[i]!;
      }
      return mask;
    }
    case "id": {
      const row = await rowOf(home, clause.id);
      if (row !== null) mask[row] = 1;
      return mask;
    }
    case "nothing":
      return mask;
    case "flag":
      return flagged(home, mask, clause.flag);
    case "order":
      return ordered(await column(home, clause.column), mask, clause.order, clause.value);
    case "within":
      return within(await column(home, clause.column), mask, clause.low, clause.high);
    case "one of":
      return oneOf(await column(home, clause.column), mask, clause.values);
    case "like":
      return worded(await column(home, clause.column), mask, liked(clause.text));
    case "same": {
      const wanted = small(clause.text);
      return worded(await column(home, clause.column), mask, (word) => small(word) === wanted);
    }
    case "other": {
      const wanted = small(clause.text);
      return worded(await column(home, clause.column), mask, (word) => small(word) !== wanted, true);
    }
    case "begins": {
      const wanted = small(clause.text);
      return worded(await column(home, clause.column), mask, (word) => small(word).startsWith(wanted));
    }
    case "labelled":
      return labelled(home, mask, clause.text);
    case "annotated": {
      if (/^\*+$/.test(clause.text)) return ofKind(home, mask, clause.kind);
      const like = liked(clause.text);
      return enriched(home, mask, (terms, t) => terms.kind[t] === clause.kind && like(terms.name[t]!));
    }
    case "word": {
      const wanted = folded(clause.text),
        names = await foldedTerms(home);
      await labelled(home, mask, clause.text);
      return enriched(home, mask, (_, t) => names[t]!.includes(wanted));
    }
    case "listed":
      return listed(home, mask, clause.gene);
    case "near":
      return near(home, mask, clause.gene);
    case "cell type":
      return ofCellType(home, mask, clause.text);
    case "region":
      return overlapping(home, mask, [clause.region]);
  }
}

// Columns
// ------------------------------------------------------------------------------------------------

/** The typed number as the column stores numbers. One that float32 would make 0 or infinite stays as
 * it is: a column with such numbers is not stored so, and 0 is not 1e-60. */
function stored({ column }: Values, value: number): number {
  const narrow = Math.fround(value);
  return column.store === "f32" && narrow !== 0 && Number.isFinite(narrow) ? narrow : value;
}

function ordered(values: Values, mask: Uint8Array, order: Order, typed: number): Uint8Array {
  const value = stored(values, typed),
    { raw } = values,
    gap = MISSING[values.column.store];
  if (Number.isNaN(value)) return mask;
  switch (order) {
    case "<":
      for (let i = 0; i < mask.length; i++) mask[i] = Number(raw[i]! < value);
      break;
    case "<=":
      for (let i = 0; i < mask.length; i++) mask[i] = Number(raw[i]! <= value);
      break;
    case ">":
      for (let i = 0; i < mask.length; i++) mask[i] = Number(raw[i]! > value);
      break;
    case ">=":
      for (let i = 0; i < mask.length; i++) mask[i] = Number(raw[i]! >= value);
      break;
    case "!=":
      for (let i = 0; i < mask.length; i++) mask[i] = Number(raw[i]! !== value);
      break;
  }
  return without(raw, mask, gap);
}

function within(values: Values, mask: Uint8Array, from: number, to: number): Uint8Array {
  const low = stored(values, from),
    high = stored(values, to),
    { raw } = values;
  for (let i = 0; i < mask.length; i++) mask[i] = Number(raw[i]! >= low && raw[i]! <= high);
  return without(raw, mask, MISSING[values.column.store]);
}

function oneOf(values: Values, mask: Uint8Array, typed: number[]): Uint8Array {
  const { raw } = values;
  for (const value of typed.map((one) => stored(values, one))) {
    for (let i = 0; i < mask.length; i++) if (raw[i] === value) mask[i] = 1;
  }
  return without(raw, mask, MISSING[values.column.store]);
}

/** Nothing is neither less nor more than a number. */
function without(raw: Values["raw"], mask: Uint8Array, gap: number): Uint8Array {
  if (Number.isNaN(gap))
    for (let i = 0; i < mask.length; i++) {
      if (raw[i] !== raw[i]) mask[i] = 0;
    }
  else for (let i = 0; i < mask.length; i++) if (raw[i] === gap) mask[i] = 0;
  return mask;
}

/** Adds the rows whose word passes; `empty`: those without a word too. */
function worded(
  { raw, words }: Values,
  mask: Uint8Array,
  passes: (word: string) => boolean,
  empty = false,
): Uint8Array {
  const hit = new Uint8Array(words.length + 1);
  hit[0] = Number(empty);
  for (let k = 0; k < words.length; k++) hit[k + 1] = Number(passes(words[k]!));
  for (let i = 0; i < mask.length; i++) mask[i]! |= hit[raw[i]!]!;
  return mask;
}

async function labelled(home: Home, mask: Uint8Array, text: string): Promise<Uint8Array> {
  const wanted = folded(text),
    values = await column(home, "label");
  const words = await once(values, () => values.words.map(folded));
  return worded({ ...values, words }, mask, (word) => word.includes(wanted));
}

let flags: Promise<Uint8Array> | undefined;

/** data/flags.js: a set of FLAG bits per row. */
export function flagsOf(home: Home): Promise<Uint8Array> {
  flags ??= items("flags", 1, home.total).then((buffer) => new Uint8Array(buffer));
  flags.catch(() => {
    flags = undefined;
  });
  return flags;
}

let kinds: Promise<Uint8Array> | undefined;

/** Bit k of a row: it is enriched for a term of home.kinds[k]. */
export function kindsOf(home: Home): Promise<Uint8Array> {
  kinds ??= items("kinds", 1, home.total).then((buffer) => new Uint8Array(buffer));
  kinds.catch(() => {
    kinds = undefined;
  });
  return kinds;
}

/** Adds the features that are enriched for any term of a kind: no term is read. */
async function ofKind(home: Home, mask: Uint8Array, kind: string): Promise<Uint8Array> {
  if (!home.has.includes("kinds")) return mask;
  const bits = await kindsOf(home),
    place = home.kinds.findIndex((one) => one.name === kind);
  for (let i = 0; i < mask.length; i++) mask[i] = (bits[i]! >> place) & 1;
  return mask;
}

async function flagged(home: Home, mask: Uint8Array, flag: Flag): Promise<Uint8Array> {
  if (flag === "dead") return oneOf(await column(home, "alive"), mask, [0]);
  if (flag === "vivo" || flag === "vitro") {
    return worded(await column(home, "direction"), mask, (word) => small(word) === `in_${flag}`);
  }
  const bits = await flagsOf(home),
    bit = FLAG[flag];
  for (let i = 0; i < mask.length; i++) mask[i] = Number((bits[i]! & bit) !== 0);
  return mask;
}

// Terms, genes and cell types
// ------------------------------------------------------------------------------------------------

const made = new WeakMap<object, unknown>();

/** What is derived from a chunk, derived once. */
async function once<T>(from: object, make: () => T): Promise<T> {
  if (!made.has(from)) made.set(from, make());
  return made.get(from) as T;
}

const NO_TERMS: Terms = { kind: [], name: [], features: [], chunk: [] };
const NO_GENES: Genes = { name: [], features: [], chrom: [], tss: [], strand: [], chunk: [] };

export const termsOf = (home: Home): Promise<Terms> =>
  home.has.includes("terms") ? json<Terms>("terms") : Promise.resolve(NO_TERMS);
export const genesOf = (home: Home): Promise<Genes> =>
  home.has.includes("genes") ? json<Genes>("genes") : Promise.resolve(NO_GENES);

export async function foldedTerms(home: Home): Promise<string[]> {
  const terms = await termsOf(home);
  return once(terms, () => terms.name.map(folded));
}

/** Adds the features that are enriched for any term that passes. */
async function enriched(
  home: Home,
  mask: Uint8Array,
  passes: (terms: Terms, term: number) => boolean,
): Promise<Uint8Array> {
  const terms = await termsOf(home);
  const found: number[] = [];
  for (let t = 0; t < terms.name.length; t++) {
    if (terms.chunk[t]! >= 0 && passes(terms, t)) found.push(t);
  }
  return gathered(mask, "post", terms.chunk, found);
}

async function listed(home: Home, mask: Uint8Array, gene: string): Promise<Uint8Array> {
  const genes = await genesOf(home),
    wanted = small(gene);
  const found = genes.name.flatMap((name, g) => (genes.chunk[g]! >= 0 && small(name) === wanted ? [g] : []));
  return gathered(mask, "listing", genes.chunk, found);
}

/** Adds the rows that the chunks of a folder hold for the numbers found. */
async function gathered(
  mask: Uint8Array,
  folder: string,
  chunks: number[],
  found: number[],
): Promise<Uint8Array> {
  const load = async (k: number) => [k, await json<Posts | Listings>(`${folder}/${k}`)] as const;
  const loaded = new Map(await Promise.all([...new Set(found.map((t) => chunks[t]!))].map(load)));
  for (const t of found) for (const row of loaded.get(chunks[t]!)![t]?.row ?? []) mask[row] = 1;
  return mask;
}

async function ofCellType(home: Home, mask: Uint8Array, text: string): Promise<Uint8Array> {
  if (!home.has.includes("celltypes")) return mask;
  const types = await json<CellTypes>("celltypes"),
    like = liked(text);
  types.name.forEach((name, i) => {
    if (like(name)) for (const row of types.rows[i]!) mask[row] = 1;
  });
  return mask;
}

// Places
// ------------------------------------------------------------------------------------------------

async function near(home: Home, mask: Uint8Array, gene: string): Promise<Uint8Array> {
  const genes = await genesOf(home),
    wanted = small(gene);
  const reaches = genes.name.flatMap((name, g) => {
    const chrom = genes.chrom[g],
      tss = genes.tss[g];
    if (small(name) !== wanted || chrom == null || tss == null) return [];
    return [{ chrom, start: tss - REACH, end: tss + REACH }];
  });
  return overlapping(home, mask, reaches);
}

/** Adds the features with a top context that overlaps any of the regions. */
async function overlapping(home: Home, mask: Uint8Array, regions: Region[]): Promise<Uint8Array> {
  const touching = home.places.flatMap(([chrom, first, , end], k) =>
    regions.some((r) => r.chrom === chrom && first < r.end && end > r.start) ? [k] : [],
  );
  for (const places of await Promise.all(touching.map((k) => json<Places>(`place/${k}`)))) {
    for (const { chrom, start, end } of regions) {
      for (let i = 0; i < places.row.length && places.start[i]! < end; i++) {
        if (places.end[i]! > start && places.chrom[i] === chrom) mask[places.row[i]!] = 1;
      }
    }
  }
  return mask;
}
