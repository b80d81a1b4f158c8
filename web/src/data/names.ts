// Identifiers, names and rows of features.
import { digits, strip } from "./filter/words";
import type { Home, Layer } from "./format";

export const STRIDE = 1_000_000;

/** L6/1234 */
export const nameOf = (id: number): string => `L${Math.floor(id / STRIDE)}/${id % STRIDE}`;

/** The identifier behind "L6/1234", or null. */
export function idOf(text: string): number | null {
  const match = /^[Ll](\d{1,3})[/:.](\d{1,6})$/.exec(digits(strip(text)));
  return match ? Number(match[1]) * STRIDE + Number(match[2]) : null;
}

export const layerOf = (home: Home, layer: number): Layer | undefined =>
  home.layers.find((l) => l.layer === layer);

/** The layer that holds a row (binary search). */
export function layerAt(home: Home, row: number): Layer {
  let low = 0, high = home.layers.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (home.layers[middle]!.first <= row) low = middle; else high = middle - 1;
  }
  return home.layers[low]!;
}

/** The identifier of a row; `index` is column "feature" where a layer is not contiguous. */
export function idAt(home: Home, row: number, index?: ArrayLike<number>): number {
  const layer = layerAt(home, row);
  return layer.layer * STRIDE + (layer.contiguous ? row - layer.first : index![row]!);
}

/** A layer as people say it: "layer 3", or model and depth where there are several models. */
export function layerWords(home: Home, layer: number): string {
  const name = layerOf(home, layer)?.name ?? String(layer);
  return /^\d+$/.test(name) ? `layer ${name}` : name;
}
