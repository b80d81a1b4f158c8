// What the vocabulary says of a gene and of a term: start sites, the features that list or are
// enriched for it.
import { json } from "./chunk";
import { termsOf } from "./filter/masks";
import { small } from "./filter/words";
import type { Home, Kind, Listings, Posts, SomeGenes } from "./format";

export interface Site {
  chrom: string;
  tss: number;
  strand: string | null;
}
export type Listed = Listings[string];
export interface KnownGene {
  name: string;
  sites: Site[];
  /** Features that list it, highest rank first; null: none does, or this atlas has no lists. */
  listed: Listed | null;
}

/** A gene by its name, ignoring case as the filter gene: does; null where nothing names it. */
export async function geneOf(home: Home, text: string): Promise<KnownGene | null> {
  const genes = await genesLike(home, text);
  if (!genes) return null;
  const wanted = small(text);
  const places = genes.name.flatMap((name, g) => (small(name) === wanted ? [g] : []));
  if (!places.length) return null;
  const sites = places.flatMap((g): Site[] => {
    const chrom = genes.chrom[g] ?? null,
      tss = genes.tss[g] ?? null;
    return chrom === null || tss === null ? [] : [{ chrom, tss, strand: genes.strand[g] ?? null }];
  });
  const lists = await Promise.all(
    places
      .filter((g) => genes.chunk[g]! >= 0)
      .map(async (g) => (await json<Listings>(`listing/${genes.chunk[g]}`))[String(genes.number[g]!)]),
  );
  const known = lists.filter((one): one is Listed => one !== undefined);
  const name = places.map((g) => genes.name[g]!).find((one) => one === text);
  return { name: name ?? genes.name[places[0]!]!, sites, listed: known.length ? joined(known) : null };
}

/** The genes of the one file that may name it. */
async function genesLike(home: Home, text: string): Promise<SomeGenes | null> {
  if (!home.gene_files) return null;
  return json<SomeGenes>(`gene/${fileOf(text, home.gene_files)}`);
}

/** What else has a name, apart from its case: terms and a gene, kind by kind. */
export async function named(home: Home, text: string): Promise<{ kind: string; name: string }[]> {
  const [terms, genes] = await Promise.all([
    home.has.includes("terms") ? termsOf(home) : null,
    genesLike(home, text),
  ]);
  const wanted = small(text);
  const same = (kinds: string[], names: string[]) =>
    names.flatMap((name, i) => (small(name) === wanted ? [{ kind: kinds[i] ?? "gene", name }] : []));
  const genesSame = same([], genes?.name ?? []).slice(0, 1);
  return [...genesSame, ...(terms ? same(terms.kind, terms.name) : [])];
}

/** The file that holds a name, of `count`: FNV-1a of the name in small letters (in step with
 * petriscope.web.terms.file_of). */
export function fileOf(name: string, count: number): number {
  let digest = 2166136261;
  for (const byte of new TextEncoder().encode(small(name))) digest = Math.imul(digest ^ byte, 16777619) >>> 0;
  return digest % count;
}

/** Lists of names that differ in case alone, as one: by rank, then by row. */
function joined(lists: Listed[]): Listed {
  if (lists.length === 1) return lists[0]!;
  const told = lists.flatMap((one) => one.rank.map((rank, i) => ({ one, i, rank, row: one.row[i]! })));
  told.sort((a, b) => a.rank - b.rank || a.row - b.row);
  return {
    row: [...told.map((t) => t.row), ...lists.flatMap((one) => one.row.slice(one.rank.length))],
    total: lists.reduce((sum, one) => sum + one.total, 0),
    rank: told.map((t) => t.rank),
    value: told.map((t) => t.one.value[t.i] ?? null),
    fires: told.map((t) => t.one.fires[t.i] ?? null),
    tokens: told.map((t) => t.one.tokens[t.i] ?? null),
  };
}

export type Post = Posts[string];
export interface KnownTerm {
  kind: Kind;
  name: string;
  /** Features enriched for it, most significant first; null: none is. */
  post: Post | null;
}

/** Kind and name of "motif:GATA1"; a kind may be named by its words in the filter language. */
export function parseTerm(home: Home, text: string): { kind: Kind; name: string } | null {
  const mark = text.indexOf(":"),
    word = text.slice(0, mark);
  const kind =
    mark < 0
      ? undefined
      : (home.kinds.find((k) => k.name === word) ?? home.kinds.find((k) => k.filters.includes(word)));
  return kind && text.length > mark + 1 ? { kind, name: text.slice(mark + 1) } : null;
}

/** A term; a name that nothing has exactly is found in another case. */
export async function termOf(home: Home, text: string): Promise<KnownTerm | null> {
  const asked = parseTerm(home, text);
  if (!asked || !home.has.includes("terms")) return null;
  const terms = await termsOf(home),
    wanted = small(asked.name);
  const of = (same: (name: string) => boolean) =>
    terms.name.findIndex((name, t) => terms.kind[t] === asked.kind.name && same(name));
  const exact = of((name) => name === asked.name),
    t = exact >= 0 ? exact : of((name) => small(name) === wanted);
  if (t < 0) return null;
  const chunk = terms.chunk[t]!;
  const post = chunk < 0 ? null : ((await json<Posts>(`post/${chunk}`))[String(t)] ?? null);
  return { kind: asked.kind, name: terms.name[t]!, post };
}
