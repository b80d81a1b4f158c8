// Columns of all features in order (layer, index), loaded when first needed.
import type { Column, Home } from "./format";
import { items, json } from "./chunk";

export interface Values {
  column: Column;
  /** f32 values, u16 or i32 numbers, or codes of `words` (0 is missing, k is words[k-1]). */
  raw: Float32Array | Uint16Array | Int32Array;
  words: string[];
}

const WIDTH = { f32: 4, u16: 2, i32: 4, code: 2 } as const;

/** A column by name; throws a ChunkError that names its file. */
export async function column(home: Home, name: string): Promise<Values> {
  const found = home.columns.find((c) => c.name === name);
  if (!found) throw new Error(`no column ${name}`);
  const [buffer, words] = await Promise.all([
    items(`col/${name}`, WIDTH[found.store], home.total),
    found.store === "code" ? json<string[]>(`dict/${name}`) : Promise.resolve([]),
  ]);
  const raw = found.store === "f32" ? new Float32Array(buffer)
    : found.store === "i32" ? new Int32Array(buffer) : new Uint16Array(buffer);
  return { column: found, raw, words };
}

/** The value of a row: null where it is missing. */
export function valueAt(values: Values, row: number): number | string | null {
  const v = values.raw[row]!;
  switch (values.column.store) {
    case "f32": return Number.isNaN(v) ? null : v;
    case "u16": return v === 65535 ? null : v;
    case "i32": return v === -2147483648 ? null : v;
    case "code": return v === 0 ? null : values.words[v - 1]!;
  }
}
