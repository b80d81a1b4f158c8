// Columns of all features in order (layer, index), loaded when first needed.
import type { Column, Home } from "./format";
import { items, json } from "./chunk";

export interface Values {
  column: Column;
  /** Values, or codes of `words` (0 is missing, k is words[k-1]). */
  raw: Float32Array | Float64Array | Uint16Array | Int32Array | Uint32Array;
  words: string[];
}

const ARRAY = {
  f32: Float32Array,
  f64: Float64Array,
  u16: Uint16Array,
  i32: Int32Array,
  code: Uint16Array,
  code32: Uint32Array,
} as const;
/** How a store writes that a value is missing. */
export const MISSING = { f32: NaN, f64: NaN, u16: 65535, i32: -2147483648, code: 0, code32: 0 } as const;

const loaded = new Map<string, Promise<Values>>();

/** A column by name, kept once loaded; throws a ChunkError that names its file. */
export function column(home: Home, name: string): Promise<Values> {
  let found = loaded.get(name);
  if (!found) {
    found = load(home, name);
    loaded.set(name, found);
    found.catch(() => loaded.delete(name));
  }
  return found;
}

async function load(home: Home, name: string): Promise<Values> {
  const column = home.columns.find((c) => c.name === name);
  if (!column) throw new Error(`no column ${name}`);
  const kind = ARRAY[column.store];
  if (!column.filled) return { column, raw: new kind(home.total).fill(MISSING[column.store]), words: [] };
  const coded = column.store === "code" || column.store === "code32";
  const [buffer, words] = await Promise.all([
    items(`col/${name}`, kind.BYTES_PER_ELEMENT, home.total),
    coded ? json<string[]>(`dict/${name}`) : Promise.resolve([]),
  ]);
  return { column, raw: new kind(buffer), words };
}

/** The shortest decimal that gives back a float32: what was measured as 0.345 is 0.345 again and is
 * printed so, not as the nearest float32, 0.3449999988. */
export function shortest(value: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return Number(value.toPrecision(9));
}

/** The value of a row: null where it is missing. */
export function valueAt(values: Values, row: number): number | string | null {
  const v = values.raw[row]!;
  switch (values.column.store) {
    case "f32":
      return Number.isNaN(v) ? null : shortest(v);
    case "f64":
      return Number.isNaN(v) ? null : v;
    case "u16":
      return v === 65535 ? null : v;
    case "i32":
      return v === -2147483648 ? null : v;
    case "code":
    case "code32":
      return v === 0 ? null : values.words[v - 1]!;
  }
}
