// Facets: how many of the rows that pass have each word of a column, each flag, each layer; a click
// writes the term into the filter line.
import { column, type Values } from "../../data/columns";
import { flagsOf } from "../../data/filter/masks";
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
  const [words, numbers, flags] = await Promise.all([
    Promise.all(known.map((c) => column(home, c.name))),
    module ? column(home, "module") : null,
    flagsOf(home),
  ]);
  return { words, module: numbers, flags };
}

/** `ready`: the first rows are drawn, and columns may be loaded. A filter that means nothing has no
 * counts. */
export function Facets({ ready, broken, ...props }: Props & { ready: boolean; broken: boolean }) {
  const { home, mask, filter, onFilter } = props;
  const asked = useKept(ready ? "facets" : null, () => load(home));
  if (asked.error)
    return (
      <p class="error" role="alert">
        {asked.error.message}
      </p>
    );
  const data = asked.value;
  if (broken) return null;
  if (!data || !mask) return <p class="wait">Counting…</p>;
  const pick = (name: string) => (value: string) => onFilter(toggled(filter, name, value));
  return (
    <>
      <Layers {...props} mask={mask} />
      {data.words.map((values) => (
        <Facet
          key={values.column.name}
          title={nameOf(home, values)}
          entries={ofWords(values, mask)}
          on={chosen(filter, values.column.name)}
          pick={pick(values.column.name)}
        />
      ))}
      <Flags {...props} mask={mask} flags={data.flags} />
      {data.module ? (
        <Facet
          title="module"
          entries={ofNumbers(data.module, mask)}
          on={chosen(filter, "module")}
          pick={pick("module")}
        />
      ) : null}
      <Kinds {...props} />
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

function ofWords({ raw, words }: Values, mask: Uint8Array): Entry[] {
  const counts = new Uint32Array(words.length + 1);
  for (let row = 0; row < mask.length; row++) counts[raw[row]!]! += mask[row]!;
  return words
    .map((word, k) => ({ value: word, text: spoken(word), count: counts[k + 1]! }))
    .sort((a, b) => b.count - a.count || (a.value < b.value ? -1 : 1));
}

function ofNumbers({ raw }: Values, mask: Uint8Array): Entry[] {
  const counts = new Map<number, number>();
  for (let row = 0; row < mask.length; row++)
    if (mask[row]) counts.set(raw[row]!, (counts.get(raw[row]!) ?? 0) + 1);
  counts.delete(65535);
  counts.delete(-2147483648);
  return [...counts]
    .map(([value, count]) => ({ value: String(value), text: String(value), count }))
    .sort((a, b) => b.count - a.count || Number(a.value) - Number(b.value));
}

function Flags({ home, filter, mask, flags, onFilter }: Props & { mask: Uint8Array; flags: Uint8Array }) {
  const shown = FLAGS.filter((name) => home.counts[name] > 0);
  return (
    <section class="facet">
      <h2>Flags</h2>
      <ul>
        {shown.map((name) => {
          let count = 0;
          for (let row = 0; row < mask.length; row++) if (mask[row] && flags[row]! & FLAG[name]) count++;
          return (
            <li key={name}>
              <button
                type="button"
                aria-pressed={termsOf(filter).includes(`is:${name}`)}
                onClick={() => onFilter(switched(filter, `is:${name}`))}
              >
                <span>{name}</span> <span class="count">{grouped(count)}</span>
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}

/** Bars of the layers: how many of each layer's features pass. */
function Layers({ home, filter, mask, onFilter }: Props & { mask: Uint8Array }) {
  const on = chosen(filter, "layer");
  const counts = home.layers.map((layer) => {
    let count = 0;
    for (let row = layer.first; row < layer.first + layer.size; row++) count += mask[row]!;
    return count;
  });
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

/** Kinds of annotation, with the numbers of the whole atlas: those of a filter would need all terms. */
function Kinds({ home, filter, onFilter }: Props) {
  const told = home.kinds
    .map((kind) => ({
      kind,
      count: home.layers.reduce((sum, layer) => sum + (layer.annotated[kind.name] ?? 0), 0),
    }))
    .filter((entry) => entry.count);
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
                <span>{kind.one}</span> <span class="count">{grouped(count)} of all</span>
              </button>
            </li>
          );
        })}
      </ul>
    </section>
  );
}
