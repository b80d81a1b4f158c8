// What a text may mean, best first, as atlas/query.py's search: exact, prefix, substring, then names
// that share its trigrams, those ranked by BM25 as SQLite ranks them.
import { casefold, compare, folded, small, spaced } from "./filter/words";
import { parseRegion, regionName } from "./filter/parse";
import { genesOf, termsOf } from "./filter/masks";
import { matches } from "./filter";
import type { Home } from "./format";
import { idOf, nameOf, STRIDE } from "./names";
import { rowOf } from "./rows";
import { href } from "../route";

export interface Found {
  /** feature, region, gene, label, or a kind of annotation. */
  kind: string;
  name: string;
  features: number | null;
  /** The filter that lists its features. */
  query: string;
  /** The page it opens. */
  href: string;
}

/** Throws a FilterError where the text has the form of a region that is none. */
export async function search(home: Home, text: string, limit = 60): Promise<Found[]> {
  const wanted = spaced(text.replaceAll("\0", " "));
  if (!wanted) return [];
  const id = idOf(wanted);
  if (id !== null) return features(home, id);
  const region = parseRegion(wanted);
  if (region) {
    const name = regionName(region),
      query = `region:${name}`;
    const { count } = await matches(home, query);
    return [{ kind: "region", name, features: count, query, href: href(["region", name]) }];
  }
  const names = await namesOf(home);
  const found = containing(home, names, wanted, limit);
  if (found.length < limit && [...wanted].length >= 4) {
    const seen = new Set(found);
    found.push(...resembling(names, wanted, limit).filter((n) => !seen.has(n)));
  }
  const low = casefold(wanted);
  const close = found.filter((n) => names.cased[n]!.startsWith(low)).length;
  const told = found.map((n) => asFound(home, names.kind[n]!, names.name[n]!, names.features[n]!));
  return [...told.slice(0, close), ...(await labels(home, wanted)), ...told.slice(close)].slice(0, limit);
}

/** Terms by the number of features enriched for them: where to begin. */
export async function commonTerms(home: Home, limit = 30): Promise<Found[]> {
  const terms = await termsOf(home);
  return terms.name
    .map((_, t) => t)
    .filter((t) => terms.features[t]! > 0)
    .sort((a, b) => terms.features[b]! - terms.features[a]! || compare(terms.name[a]!, terms.name[b]!))
    .slice(0, limit)
    .map((t) => asFound(home, terms.kind[t]!, terms.name[t]!, terms.features[t]!));
}

/** The feature, and that of its number in the other models' layers of that depth. */
async function features(home: Home, id: number): Promise<Found[]> {
  const layer = Math.floor(id / STRIDE);
  const others = home.layers.filter((l) => l.depth === layer && l.layer !== layer);
  const found: Found[] = [];
  for (const one of [id, ...others.map((l) => l.layer * STRIDE + (id % STRIDE))]) {
    if ((await rowOf(home, one)) === null) continue;
    const name = nameOf(one);
    found.push({ kind: "feature", name, features: 1, query: name, href: href(["feature", name]) });
  }
  return found;
}

/** All names in the order of their numbers in the SQLite atlas: terms, then genes. */
interface Names {
  kind: string[];
  name: string[];
  features: (number | null)[];
  /** Folded as the trigram index does, and as Python's casefold does. */
  folded: string[];
  cased: string[];
  /** Trigrams of each name, and their mean: the lengths of BM25. */
  size: number[];
  mean: number;
}

let asked: Promise<Names> | undefined;

function namesOf(home: Home): Promise<Names> {
  asked ??= load(home);
  asked.catch(() => {
    asked = undefined;
  });
  return asked;
}

async function load(home: Home): Promise<Names> {
  const [terms, genes] = await Promise.all([termsOf(home), genesOf(home)]);
  const kind = [...terms.kind],
    name = [...terms.name];
  const features: (number | null)[] = [...terms.features];
  genes.name.forEach((gene, g) => {
    if (gene === genes.name[g - 1]) return; // another start site of it
    kind.push("gene");
    name.push(gene);
    // Without gene lists the chunk tells how many features fire near; terms have no number then.
    features.push(home.tables.includes("feature_genes") ? genes.features[g]! : null);
  });
  const size = name.map((text) => Math.max(0, lengthOf(text) - 2));
  const mean = size.reduce((sum, n) => sum + n, 0) / size.length;
  return { kind, name, features, folded: name.map(folded), cased: name.map(casefold), size, mean };
}

/** Code points. */
function lengthOf(text: string): number {
  let n = text.length;
  for (let i = 1; i < text.length; i++) {
    if ((text.charCodeAt(i) & 0xfc00) === 0xdc00 && (text.charCodeAt(i - 1) & 0xfc00) === 0xd800) n--;
  }
  return n;
}

function containing(home: Home, names: Names, text: string, limit: number): number[] {
  const found: number[] = [];
  if (lengthOf(text) >= 3) {
    const part = folded(text);
    for (let n = 0; n < names.name.length; n++) if (names.folded[n]!.includes(part)) found.push(n);
  } else {
    const start = small(text.replace(/[%_]/g, ""));
    for (let n = 0; n < names.name.length && found.length < 2000; n++) {
      if (small(names.name[n]!).startsWith(start)) found.push(n);
    }
  }
  // Genes first, then terms of all, then those tested within a scope.
  const kinds = [...home.kinds.filter((k) => !k.scope), ...home.kinds.filter((k) => k.scope)];
  const place = new Map(["gene", ...kinds.map((k) => k.name)].map((word, i) => [word, i]));
  const low = casefold(text),
    { cased, kind, features } = names;
  const rank = (n: number) => (cased[n] === low ? 0 : cased[n]!.startsWith(low) ? 1 : 2);
  return found
    .sort(
      (a, b) =>
        rank(a) - rank(b) ||
        place.get(kind[a]!)! - place.get(kind[b]!)! ||
        (features[b] ?? 0) - (features[a] ?? 0) ||
        lengthOf(cased[a]!) - lengthOf(cased[b]!) ||
        compare(cased[a]!, cased[b]!),
    )
    .slice(0, limit);
}

/** Names that share at least half of the trigrams of the text, of the 200 that SQLite's bm25()
 * (k1 1.2, b .75) ranks first: forgives a typing slip. */
function resembling(names: Names, text: string, limit: number): number[] {
  const letters = [...casefold(text)];
  const grams = [...new Set(letters.slice(2).map((_, i) => letters.slice(i, i + 3).join("")))].sort(compare);
  const total = names.name.length;
  const score = new Float64Array(total),
    hit = new Uint8Array(total);
  for (const gram of grams.map(folded)) {
    const rows: number[] = [],
      times: number[] = [];
    for (let n = 0; n < total; n++) {
      const count = occurrences(names.folded[n]!, gram);
      if (count) {
        rows.push(n);
        times.push(count);
      }
    }
    const idf = Math.log((total - rows.length + 0.5) / (rows.length + 0.5));
    const weight = idf <= 0 ? 1e-6 : idf;
    rows.forEach((n, i) => {
      const k = 1.2 * (1 - 0.75 + (0.75 * names.size[n]!) / names.mean);
      score[n]! += weight * ((times[i]! * (1.2 + 1)) / (times[i]! + k));
      hit[n] = 1;
    });
  }
  const best: number[] = [];
  for (let n = 0; n < total; n++) if (hit[n]) best.push(n);
  best.sort((a, b) => score[b]! - score[a]! || a - b);
  const shared = new Map<number, number>();
  for (const n of best.slice(0, 200)) {
    const share = grams.filter((gram) => names.cased[n]!.includes(gram)).length / grams.length;
    if (share >= 0.5) shared.set(n, share);
  }
  const { name, kind } = names;
  return [...shared.keys()]
    .sort(
      (a, b) =>
        shared.get(b)! - shared.get(a)! ||
        lengthOf(name[a]!) - lengthOf(name[b]!) ||
        compare(kind[a]!, kind[b]!) ||
        compare(name[a]!, name[b]!),
    )
    .slice(0, limit);
}

function occurrences(text: string, part: string): number {
  let count = 0;
  for (let at = text.indexOf(part); at >= 0; at = text.indexOf(part, at + 1)) count++;
  return count;
}

async function labels(home: Home, text: string): Promise<Found[]> {
  if (text.includes('"')) return [];
  const query = `label:"${text}"`;
  const { count } = await matches(home, query);
  if (!count) return [];
  return [{ kind: "label", name: text, features: count, query, href: href(["features"], { f: query }) }];
}

function asFound(home: Home, kind: string, name: string, features: number | null): Found {
  const word = kind === "gene" ? "gene" : home.kinds.find((k) => k.name === kind)!.filters[0]!;
  return {
    kind,
    name,
    features,
    query: `${word}:${name.includes(" ") ? `"${name}"` : name}`,
    href: kind === "gene" ? href(["gene", name]) : href(["term", `${kind}:${name}`]),
  };
}
