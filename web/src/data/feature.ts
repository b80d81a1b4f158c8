// One feature by its name, and its neighbors in the order that an address carries.
import { json } from "./chunk";
import { column, type Values } from "./columns";
import { matches } from "./filter";
import type { Feature, Home, Pack } from "./format";
import { idAt, layerOf, nameOf, STRIDE } from "./names";
import { rowOf } from "./rows";
import { order } from "./sort";

/** The evidence of a row: one pack of the folder. */
export async function featureAt(home: Home, row: number): Promise<Feature> {
  const pack = await json<Pack>(`f/${Math.floor(row / home.pack)}`);
  const found = pack.features[row - pack.first];
  if (!found)
    throw new Error(
      `data/f/${Math.floor(row / home.pack)}.js does not hold row ${row}; export the atlas again`,
    );
  return found;
}

/** A feature that the atlas does not have; the message says what there is. */
export class UnknownFeature extends Error {}

/** Row and evidence behind an identifier; throws UnknownFeature. */
export async function featureOf(home: Home, id: number): Promise<{ row: number; feature: Feature }> {
  const row = await rowOf(home, id);
  if (row !== null) return { row, feature: await featureAt(home, row) };
  const layer = layerOf(home, Math.floor(id / STRIDE));
  const range = layer?.contiguous ? `, L${layer.layer}/0 to L${layer.layer}/${layer.size - 1}` : "";
  const known = layer
    ? `layer ${layer.name} has ${layer.size} features${range}`
    : `its layers are ${home.layers.map((l) => `L${l.layer}`).join(", ")}`;
  throw new UnknownFeature(`There is no feature ${nameOf(id)} in this atlas; ${known}.`);
}

/** What turns rows into identifiers; reads a column only where a layer's indexes have gaps. */
export async function identifiers(home: Home): Promise<(row: number) => number> {
  const index = home.layers.every((l) => l.contiguous) ? undefined : (await column(home, "feature")).raw;
  return (row) => idAt(home, row, index);
}

/** Some columns by name; those that no feature has a value of are left out. */
export async function columnsOf(home: Home, names: string[]): Promise<Record<string, Values>> {
  const filled = names.filter((name) => home.columns.some((c) => c.name === name && c.filled));
  const read = await Promise.all(filled.map((name) => column(home, name)));
  return Object.fromEntries(filled.map((name, i) => [name, read[i]!]));
}

export interface Around {
  before: number | null;
  after: number | null;
  /** Place among the features of the order, from 1; null: the filter does not hold it, and the
   * neighbors are those by number. */
  place: number | null;
  of: number;
}

/** The previous and the next feature of a row under a filter and a sorting. */
export async function around(
  home: Home,
  row: number,
  filter: string,
  sort: string,
  descending: boolean,
): Promise<Around> {
  const byNumber = async (place: number | null): Promise<Around> => {
    const name = await identifiers(home);
    return {
      before: row > 0 ? name(row - 1) : null,
      after: row + 1 < home.total ? name(row + 1) : null,
      place,
      of: home.total,
    };
  };
  if (!filter && !sort) return byNumber(row + 1);
  const [{ mask, count }, rows, name] = await Promise.all([
    matches(home, filter),
    order(home, sort || "layer", descending),
    identifiers(home),
  ]);
  if (!mask[row]) return byNumber(null);
  let before: number | null = null,
    place = 0;
  for (let i = 0; i < rows.length; i++) {
    const at = rows[i]!;
    if (!mask[at]) continue;
    place++;
    if (at !== row) {
      before = at;
      continue;
    }
    let next = i + 1;
    while (next < rows.length && !mask[rows[next]!]) next++;
    return {
      before: before === null ? null : name(before),
      after: next < rows.length ? name(rows[next]!) : null,
      place,
      of: count,
    };
  }
  return byNumber(null);
}
