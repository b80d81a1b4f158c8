// Rows of features: where an identifier stands in the columns.
import { column } from "./columns";
import type { Home } from "./format";
import { layerOf, STRIDE } from "./names";

/** The row of a feature, or null where the atlas does not know it. */
export async function rowOf(home: Home, id: number): Promise<number | null> {
  const layer = layerOf(home, Math.floor(id / STRIDE));
  const index = id % STRIDE;
  if (!layer) return null;
  if (layer.contiguous) return index < layer.size ? layer.first + index : null;
  const { raw } = await column(home, "feature");
  let low = layer.first,
    high = layer.first + layer.size;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (raw[middle]! < index) low = middle + 1;
    else high = middle;
  }
  return low < layer.first + layer.size && raw[low] === index ? low : null;
}
