// The filter line, its help, the filters that were saved in this browser, and the choice of columns.
import { useEffect, useRef, useState } from "preact/hooks";
import type { Home } from "../../data/format";
import { href } from "../../route";

/** Milliseconds after the last key until the address follows. */
const PAUSE = 60;

export function FilterLine({
  home,
  filter,
  problem,
  onFilter,
}: {
  home: Home;
  filter: string;
  problem: string | null;
  onFilter: (filter: string, typed: boolean) => void;
}) {
  const [text, setText] = useState(filter);
  const told = useRef(filter),
    timer = useRef(0);
  // Facets, saved filters and the browser's back change the filter too.
  useEffect(() => {
    if (filter !== told.current) setText(filter);
    told.current = filter;
  }, [filter]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const tell = (value: string) => {
    clearTimeout(timer.current);
    told.current = value;
    onFilter(value, true);
  };
  const typed = (value: string) => {
    setText(value);
    clearTimeout(timer.current);
    timer.current = window.setTimeout(() => tell(value), PAUSE);
  };
  return (
    <div class="filter">
      <label for="filter">Filter</label>
      <input
        id="filter"
        type="text"
        value={text}
        autocomplete="off"
        spellcheck={false}
        placeholder={`layer:0..3 q<.01 is:alive ${tested(home) ?? "label"}:…`}
        aria-invalid={problem ? "true" : undefined}
        aria-describedby={problem ? "filter-problem" : undefined}
        onInput={(e) => typed(e.currentTarget.value)}
        onKeyDown={(e) => {
          if (e.key === "Enter") tell(e.currentTarget.value);
          else if (e.key === "Escape" && text) {
            setText("");
            tell("");
          }
        }}
      />
      {problem ? (
        <p id="filter-problem" class="error" role="alert">
          {problem}
        </p>
      ) : null}
    </div>
  );
}

/** A kind of annotation that this atlas has, as the filter language calls it. */
const tested = (home: Home) =>
  home.kinds.find((kind) => home.layers.some((layer) => layer.annotated[kind.name]))?.filters[0];

/** What can be written, with an example of each. */
export function Help({ home }: { home: Home }) {
  const numbers = home.columns.filter((c) => c.kind !== "text" && c.filled).map((c) => c.name);
  const words = home.columns.filter((c) => c.kind === "text" && c.filled).map((c) => c.name);
  const kinds = home.kinds.map((k) => `${k.filters[0]}:`).join(" ");
  const genes = home.tables.includes("feature_genes")
    ? "features that list the gene"
    : home.tables.includes("genes")
      ? "a top context within 100 kb of its start site"
      : null;
  const rows: [string, string][] = [
    ["q<.01  layer:3..5  layer:2,4  density>1%", `comparison, closed range, any of: ${numbers.join(" ")}`],
    [
      "label:liver  label=GATA1  label:G*A",
      `text contains, equals, * for anything; case ignored: ${words.join(" ")}`,
    ],
    [kinds, "enriched for a term with that text"],
    ...(genes ? [["gene:GATA1", genes] as [string, string]] : []),
    ...(home.tables.includes("celltypes")
      ? [["celltype:monocyte", "higher in a cell type"] as [string, string]]
      : []),
    ...(home.places.length
      ? [["chr22:37,500,000-37,600,000", "a top context in the region"] as [string, string]]
      : []),
    [
      "is:alive  is:dead  is:context  is:stable  is:causal  is:annotated",
      "flags, judged by the run's own thresholds",
    ],
    ["L0/12  kinase", "that feature; label or enriched term contains the word"],
    ['-term  "two words"', "a minus negates; quotes keep blanks and commas"],
  ];
  return (
    <details class="help">
      <summary>What can be written</summary>
      <p class="note">Terms are separated by blanks and all must hold.</p>
      <dl class="facts">
        {rows.map(([term, means]) => [
          <dt key={term}>
            <code>{term}</code>
          </dt>,
          <dd>{means}</dd>,
        ])}
      </dl>
    </details>
  );
}

const keyOf = (home: Home) => `petriscope filters ${home.run["dataset"] ?? home.run["study"] ?? ""}`;

/** Filters saved in this browser; a page from a disk may have no storage, and then saves none. */
function stored(home: Home): string[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(keyOf(home)) ?? "[]");
    return Array.isArray(found) ? found.filter((one) => typeof one === "string") : [];
  } catch {
    return [];
  }
}

export function Saved({ home, filter }: { home: Home; filter: string }) {
  const [filters, set] = useState(() => stored(home));
  const [refused, setRefused] = useState(false);
  const keep = (next: string[]) => {
    set(next);
    try {
      localStorage.setItem(keyOf(home), JSON.stringify(next));
    } catch {
      setRefused(true);
    }
  };
  return (
    <details class="saved">
      <summary>Saved filters ({filters.length})</summary>
      <button
        type="button"
        disabled={!filter || filters.includes(filter)}
        onClick={() => keep([...filters, filter])}
      >
        Save this filter
      </button>
      {refused ? (
        <p class="note">
          This browser keeps nothing for pages from a disk: the list lasts until the page is closed.
        </p>
      ) : null}
      <ul class="plain">
        {filters.map((one) => (
          <li key={one}>
            <a href={href(["features"], { f: one })}>
              <code>{one}</code>
            </a>{" "}
            <button
              type="button"
              aria-label={`forget ${one}`}
              onClick={() => keep(filters.filter((f) => f !== one))}
            >
              ×
            </button>
          </li>
        ))}
      </ul>
    </details>
  );
}

export function Chooser({
  home,
  names,
  onColumns,
}: {
  home: Home;
  names: string[];
  onColumns: (names: string[]) => void;
}) {
  const filled = home.columns.filter((c) => c.filled),
    empty = home.columns.filter((c) => !c.filled);
  return (
    <details class="columns">
      <summary>
        Columns ({names.length} of {filled.length})
      </summary>
      <ul>
        {filled.map((c) => (
          <li key={c.name}>
            <label title={c.text}>
              <input
                type="checkbox"
                checked={names.includes(c.name)}
                onChange={() =>
                  onColumns(
                    filled
                      .map((x) => x.name)
                      .filter((name) => (name === c.name ? !names.includes(name) : names.includes(name))),
                  )
                }
              />{" "}
              {c.head} <small>{c.text}</small>
            </label>
          </li>
        ))}
      </ul>
      {empty.length ? (
        <p class="note">Not measured in this run: {empty.map((c) => c.head).join(", ")}.</p>
      ) : null}
      <button type="button" onClick={() => onColumns([])}>
        The columns of the run
      </button>
    </details>
  );
}
