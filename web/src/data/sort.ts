// Sorting of all rows by a column, as the atlas stores its orders: missing values last in both
// directions, ties by row, descending the filled part reversed (its ties too). Stable radix sort, 16
// bits a pass. Values that float32 cannot tell apart count as ties.
import { column, MISSING, type Values } from "./columns";
import { FilterError } from "./filter/parse";
import { compare, repr, small } from "./filter/words";
import type { Home } from "./format";

/** Rows in order. */
export async function order(home: Home, name: string, descending: boolean): Promise<Uint32Array> {
  if (!home.columns.some((c) => c.name === name)) {
    const names = home.columns.map((c) => c.name).join(", ");
    throw new FilterError(`no column ${repr(name)} to sort by`, `One of ${names}`);
  }
  // Rows are in the order of layers as they are: no column is read for the first screen.
  if (name === "layer") {
    const rows = Uint32Array.from({ length: home.total }, (_, row) => row);
    return descending ? rows.reverse() : rows;
  }
  const known = `${name} ${descending}`;
  const values = await column(home, name);
  let rows = orders.get(known);
  if (rows) orders.delete(known);
  else rows = ordered(values, descending);
  orders.set(known, rows);
  if (orders.size > KEPT) orders.delete(orders.keys().next().value!);
  return rows;
}

/** Orders that are kept, the last asked for: a filter does not sort anew. */
const KEPT = 8;
const orders = new Map<string, Uint32Array>();

export function ordered(values: Values, descending: boolean): Uint32Array {
  const { raw } = values,
    gap = MISSING[values.column.store];
  const filled = new Uint32Array(raw.length),
    empty = new Uint32Array(raw.length);
  let f = 0,
    e = 0;
  for (let i = 0; i < raw.length; i++) {
    if (raw[i] === gap || raw[i] !== raw[i]) empty[e++] = i;
    else filled[f++] = i;
  }
  let rows: Uint32Array = filled.subarray(0, f);
  for (const digit of digitsOf(values)) rows = pass(rows, digit);
  if (descending) rows.reverse();
  const result = new Uint32Array(raw.length);
  result.set(rows);
  result.set(empty.subarray(0, e), f);
  return result;
}

/** One pass of the counting sort, rows with equal digits kept in their order. */
function pass(rows: Uint32Array, digit: Uint16Array): Uint32Array {
  const places = new Uint32Array(65537);
  for (let i = 0; i < rows.length; i++) places[digit[rows[i]!]! + 1]!++;
  for (let k = 1; k < places.length; k++) places[k]! += places[k - 1]!;
  const sorted = new Uint32Array(rows.length);
  for (let i = 0; i < rows.length; i++) sorted[places[digit[rows[i]!]!]!++] = rows[i]!;
  return sorted;
}

/** 16-bit digits of the sort key of every row, least significant first. */
function digitsOf(values: Values): Uint16Array[] {
  const { raw } = values;
  switch (values.column.store) {
    case "u16":
      return [raw as Uint16Array];
    case "i32":
      return halves(Uint32Array.from(raw, (v) => v + 0x80000000));
    case "f32":
      return halves(keysOf(raw as Float32Array));
    case "f64":
      return wide(raw as Float64Array);
    case "code":
    case "code32": {
      const ranks = ranksOf(values.words);
      return halves(Uint32Array.from(raw, (code) => ranks[code]!));
    }
  }
}

function halves(keys: Uint32Array): Uint16Array[] {
  const low = new Uint16Array(keys.length),
    high = new Uint16Array(keys.length);
  for (let i = 0; i < keys.length; i++) {
    low[i] = keys[i]! & 0xffff;
    high[i] = keys[i]! >>> 16;
  }
  return [low, high];
}

/** Bits of floats so that unsigned order is theirs: negatives flipped, -0 as 0. */
function keysOf(raw: Float32Array): Uint32Array {
  const plain = Float32Array.from(raw, (v) => v + 0);
  const keys = new Uint32Array(plain.buffer);
  for (let i = 0; i < keys.length; i++) keys[i] = keys[i]! >>> 31 ? ~keys[i]! : keys[i]! | 0x80000000;
  return keys;
}

function wide(raw: Float64Array): Uint16Array[] {
  const view = new DataView(new ArrayBuffer(8));
  const digits = [0, 1, 2, 3].map(() => new Uint16Array(raw.length));
  for (let i = 0; i < raw.length; i++) {
    view.setFloat64(0, raw[i]! + 0);
    const negative = view.getUint16(0) >>> 15;
    for (let part = 0; part < 4; part++) {
      const bits = view.getUint16(6 - 2 * part);
      digits[part]![i] = negative ? ~bits : part === 3 ? bits | 0x8000 : bits;
    }
  }
  return digits;
}

/** Rank of each code by its word in SQLite's NOCASE order; words that differ in the case of A to Z
 * alone have one rank. Code 0 stands for no word. */
function ranksOf(words: string[]): Uint32Array {
  const low = words.map(small);
  const byWord = low.map((_, i) => i).sort((a, b) => compare(low[a]!, low[b]!));
  const ranks = new Uint32Array(words.length + 1);
  byWord.forEach((word, place) => {
    const before = byWord[place - 1];
    ranks[word + 1] = before !== undefined && low[before] === low[word] ? ranks[before + 1]! : place;
  });
  return ranks;
}
