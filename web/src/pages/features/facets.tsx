// Facets: how many of the rows that pass have each word of a column, each flag, each layer; a click
// writes the term into the filter line.
import { useMemo } from "preact/hooks";
import { column, type Values } from "../../data/columns";
import { flagsOf, kindsOf } from "../../data/filter/masks";
import { FLAG, type Home } from "../../data/format";
import { useKept } from "../../data/use";
import { grouped } from "../../ui/show";
import { capital, spoken } from "../../ui/words";
import { chosen, switched, termsOf, toggled } from "./terms";

/** Words of a facet that are listed before "more". */
const LISTED = 8;
const FLAGS = ["alive", "context", "stable", "causal", "annotated"] as const;

interface Data {
  words: Values[];
  module: Values | null;
  flags: Uint8Array;
  kinds: Uint8Array | null;
}
interface Props {
  home: Home;
  filter: string;
  /** 1 for rows that pass; null while none is known. */
  mask: Uint8Array | null;
  count: number;
  onFilter: (filter: string) => void;
}
interface Entry {
  value: string;
  text: string;
  count: number;
}

async function load(home: Home): Promise<Data> {
  const known = home.columns.filter((c) => c.filled && ["lineage", "direction", "level"].includes(c.name));
  const module = home.columns.some((c) => c.name === "module" && c.filled);
  const [words, numbers, flags, kinds] = await Promise.all([
    Promise.all(known.map((c) => column(home, c.name))),
    module ? column(home, "module") : null,
    flagsOf(home),
    home.has.includes("kinds") ? kindsOf(home) : null,
  ]);
  return { words, module: numbers, flags, kinds };
}

/** `ready`: the first rows are drawn, and columns may be loaded. A filter that means nothing has no
 * counts. */
export function Facets({ ready, broken, ...props }: Props & { ready: boolean; broken: boolean }) {
  const { home, mask, filter, onFilter } = props;
  const asked = useKept(ready ? "facets" : null, () => load(home));
  const known = asked.value;
  const counts = useMemo(() => (known && mask ? countsOf(home, known, mask) : null), [known, mask]);
  if (asked.error)
    return (
      <p class="error" role="alert">
        {asked.error.message}
      </p>
    );
  const data = asked.value;
  if (broken) return null;
  if (!data || !mask || !counts) return <p class="wait">Counting…</p>;
  const pick = (name: string) => (value: string) => onFilter(toggled(filter, name, value));
  return (
    <>
      <Layers {...props} counts={counts.layers} />
      {data.words.map((values, i) => (
        <Facet
          key={values.column.name}
          title={nameOf(home, values)}
          entries={counts.words[i]!}
          on={chosen(filter, values.column.name)}
          pick={pick(values.column.name)}
        />
      ))}
      <Flags {...props} counts={counts.flags} />
      {data.module ? (
        <Facet
          title="module"
          entries={counts.module}
          on={chosen(filter, "module")}
          pick={pick("module")}
        />
      ) : null}
      <Kinds {...props} counts={counts.kinds} />
    </>
  );
}

const nameOf = (home: Home, { column: c }: Values): string =>
  c.name === "lineage" ? home.words.stratum : c.name === "direction" ? home.words.condition : c.head;

function Facet({
  title,
  entries,
  on,
  pick,
}: {
  title: string;
  entries: Entry[];
  on: string[];
  pick: (value: string) => void;
}) {
  const entry = (e: Entry) => (
    <li key={e.value}>
      <button type="button" aria-pressed={on.includes(e.value)} onClick={() => pick(e.value)}>
        <span>{e.text}</span> <span class="count">{grouped(e.count)}</span>
      </button>
    </li>
  );
  const first = entries.filter((e, i) => i < LISTED || on.includes(e.value));
  const more = entries.filter((e) => !first.includes(e));
  return (
    <section class="facet">
      <h2>{capital(title)}</h2>
      <ul>{first.map(entry)}</ul>
      {more.length ? (
        <details>
          <summary>{grouped(more.length)} more</summary>
          <ul>{more.slice(0, 500).map(entry)}</ul>
        </details>
      ) : null}
    </section>
  );
}

interface Counts {
  layers: number[];
  words: Entry[][];
  module: Entry[];
  flags: Record<(typeof FLAGS)[number], number>;
  kinds: number[];
}

/** Everything that is counted, once for a mask. */
function countsOf(home: Home, { words, module, flags, kinds }: Data, mask: Uint8Array): Counts {
  const layers = home.layers.map(({ first, size }) => {
    let count = 0;
    for (let row = first; row < first + size; row++) count += mask[row]!;
    return count;
  });
  const flag = having(flags, mask);
  const kind = kinds ? having(kinds, mask) : () => 0;
  return {
    layers,
    words: words.map((values) => ofWords(values, mask)),
    module: module ? ofNumbers(module, mask) : [],
    flags: Object.fromEntries(FLAGS.map((name) => [name, flag(FLAG[name])])) as Counts["flags"],
    kinds: home.kinds.map((_, k) => kind(1 << k)),
  };
}

/** How many of the rows that pass hold a bit: the sum over all combinations of bits that hold it. */
function having(bits: Uint8Array, mask: Uint8Array): (bit: number) => number {
  const combined = new Uint32Array(256);
  for (let row = 0; row < mask.length; row++) combined[bits[row]!]! += mask[row]!;
  return (bit) => combined.reduce((sum, n, held) => (held & bit ? sum + n : sum), 0);
}

function ofWords({ raw, words }: Values, mask: Uint8Array): Entry[] {
  const counts = new Uint32Array(words.length + 1);
  for (let row = 0; row < mask.length; row++) counts[raw[row]!]! += mask[row]!;
  return words
    .map((word, k) => ({ value: word, text: spoken(word), count: counts[k + 1]! }))
    .sort((a, b) => b.count - a.count || (a.value < b.value ? -1 : 1));
}

function ofNumbers({ raw, column }: Values, mask: Uint8Array): Entry[] {
  const found: [number, number][] = [];
  if (column.store === "u16") {
    const counts = new Uint32Array(65536);
    for (let row = 0; row < mask.length; row++) counts[raw[row]!]! += mask[row]!;
    counts[65535] = 0;
    counts.forEach((count, value) => count && found.push([value, count]));
  } else {
    const counts = new Map<number, number>();
    for (let row = 0; row < mask.length; row++)
      if (mask[row]) counts.set(raw[row]!, (counts.get(raw[row]!) ?? 0) + 1);
    counts.delete(-2147483648);
    found.push(...counts);
  }
  return found
    .map(([value, count]) => ({ value: String(value), text: String(value), count }))
    .sort((a, b) => b.count - a.count || Number(a.value) - Number(b.value));
}

function Flags({ home, filter, counts, onFilter }: Props & { counts: Counts["flags"] }) {
  const shown = FLAGS.filter((name) => home.counts[name] > 0);
  return (
    <section class="facet">
      <h2>Flags</h2>
      <ul>
        {shown.map((name) => {
          return (
            <li key={name}>
              <button
                type="button"
                aria-pressed={termsOf(filter).includes(`is:${name}`)}
                onClick={() => onFilter(switched(filter, `is:${name}`))}
              >
                <span>{name}</span> <span class="count">{grouped(counts[name])}</span>
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

/** Bars of the layers: how many of each layer's features pass. */
function Layers({ home, filter, counts, onFilter }: Props & { counts: number[] }) {
  const on = chosen(filter, "layer");
  const most = Math.max(1, ...counts);
  return (
    <section class="facet">
      <h2>Layer</h2>
      <ul>
        {home.layers.map((layer, i) => (
          <li key={layer.layer}>
            <button
              type="button"
              aria-pressed={on.includes(String(layer.layer))}
              aria-label={`layer ${layer.name}: ${grouped(counts[i]!)} of ${grouped(layer.size)}`}
              onClick={() => onFilter(toggled(filter, "layer", String(layer.layer)))}
            >
              <span>{layer.name}</span>
              <svg width="70" height="10" aria-hidden="true">
                <rect class="bar" width={(70 * counts[i]!) / most} height="10" />
              </svg>
              <span class="count">{grouped(counts[i]!)}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Kinds of annotation that any feature of the atlas is enriched for. */
function Kinds({ home, filter, counts, onFilter }: Props & { counts: number[] }) {
  const told = home.kinds
    .map((kind, k) => ({ kind, count: counts[k]! }))
    .filter(({ kind }) => home.layers.some((layer) => layer.annotated[kind.name]));
  if (!told.length) return null;
  return (
    <section class="facet">
      <h2>Enriched for a</h2>
      <ul>
        {told.map(({ kind, count }) => {
          const term = `${kind.filters[0]}:*`;
          return (
            <li key={kind.name}>
              <button
                type="button"
                aria-pressed={termsOf(filter).includes(term)}
                onClick={() => onFilter(switched(filter, term))}
              >
                <span>{kind.one}</span> <span class="count">{grouped(count)}</span>
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
