// One feature by its name, and its neighbors in the order that an address carries.
import { json } from "./chunk";
import { column, type Values } from "./columns";
import { matches } from "./filter";
import type { Annotation, Feature, Home, Neighbor, Pack, Packed } from "./format";
import { idAt, layerOf, nameOf, STRIDE } from "./names";
import { rowOf } from "./rows";
import { order } from "./sort";

/** The evidence of a row: one pack of the folder. */
export async function featureAt(home: Home, row: number): Promise<Feature> {
  const number = Math.floor(row / home.pack);
  const pack = await json<Pack>(`f/${number}`);
  const place = row - number * home.pack;
  if (pack.id[place] === undefined)
    throw new Error(`data/f/${number}.js does not hold row ${row}; export the atlas again`);
  return unpacked(home, pack, place);
}

/** The record of a feature out of the columns of its pack. */
export function unpacked(home: Home, pack: Pack, place: number): Feature {
  const rows = <T>(name: string): T[] => {
    const table = pack.tables[name];
    if (!table) return [];
    const { ends, ...columns } = table;
    const first = place ? ends[place - 1]! : 0;
    return Array.from({ length: ends[place]! - first }, (_, i) => recordAt(columns as Packed, first + i) as T);
  };
  const checks = rows<{ ask: number; found: string; holds: boolean | null }>("checks");
  const annotations = rows<Annotation & { kind: number }>("annotations");
  return {
    id: pack.id[place]!,
    values: recordAt(pack.values, place) as Feature["values"],
    checks: checks.map(({ ask, found, holds }) => {
      const [question, against] = pack.asks[ask]!;
      return { ask: question, found, holds, null: against };
    }),
    effects: rows("effects"),
    activation: rows("activation"),
    contexts: rows("contexts"),
    contexts_total: pack.contexts_total[place]!,
    annotations: byKind(annotations, (one) => home.kinds[one.kind]!.name),
    neighbors: byKind(rows<Neighbor & { kind: string }>("neighbors"), (one) => one.kind),
    ablation: rows("ablation"),
    steering: rows("steering"),
    genes: rows("genes"),
    links: rows("links"),
    celltypes: rows("celltypes"),
    responses: rows("responses"),
    documents: rows("documents"),
    dependency: pack.dependency[place] ?? null,
    modules: rows<{ graph: string; module: number }>("modules").map((one) => [one.graph, one.module]),
  };
}

/** The values of one row by the names of the columns. */
function recordAt(columns: Packed, row: number): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const [name, column] of Object.entries(columns)) {
    found[name] = Array.isArray(column) ? column[row] : recordAt(column, row);
  }
  return found;
}

/** Rows in lists by kind, the kinds in the order of the rows. */
function byKind<T>(rows: T[], kindOf: (row: T) => string): Record<string, T[]> {
  const found: Record<string, T[]> = {};
  for (const row of rows) (found[kindOf(row)] ??= []).push(row);
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
  if (!filter && !sort && !descending) return byNumber(row + 1);
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
