// The feature browser: all features of all layers, filtered, sorted and counted. The address holds
// filter (f), sorting (s, d) and columns (c).
import { useMemo } from "preact/hooks";
import { column, valueAt, type Values } from "../data/columns";
import { identifiers } from "../data/feature";
import { matches } from "../data/filter";
import type { Column, FirstRows, Home } from "../data/format";
import { json } from "../data/chunk";
import { nameOf } from "../data/names";
import { order } from "../data/sort";
import { useAsked, useKept } from "../data/use";
import { go, href, withQuery } from "../route";
import { Empty } from "../ui/parts";
import { csv, download } from "../ui/save";
import { grouped } from "../ui/show";
import { counted } from "../ui/words";
import { Facets } from "./features/facets";
import { Grid } from "./features/grid";
import { Chooser, FilterLine, Help, Saved } from "./features/line";
import { fault } from "./features/terms";
import type { PageOf, PageProps } from "./page";

function Page(props: PageProps) {
  const why = props.home.empty["features"];
  return (
    <>
      <h1>Features</h1>
      {why ? <Empty why={why} /> : <Browser {...props} />}
    </>
  );
}

/** Columns in the order of the address, or those of the run. */
function columnsOf(home: Home, wanted: string): Column[] {
  const shown = home.columns.filter((c) => c.shown).map((c) => c.name);
  // What a feature is called comes first, then its numbers.
  const named = wanted
    ? wanted.split(",")
    : shown.sort((a, b) => Number(b === "label") - Number(a === "label"));
  const found = named.map((name) => home.columns.find((c) => c.name === name));
  return found.filter((c): c is Column => c !== undefined);
}

function Browser({ home, route }: PageProps) {
  const { f = "", s = "", d = "", c = "" } = route.query;
  const sort = s || "layer",
    descending = d !== "" && d !== "0";
  const columns = useMemo(() => columnsOf(home, c), [home, c]);
  const problem = useMemo(() => fault(home, f), [home, f]);

  // The first rows of the sorting are ready in a file of their own; columns are read after them.
  const chunk = `rows/${sort}${descending ? "-down" : ""}`;
  const hasFirst = !f && home.columns.some((x) => x.name === sort && x.filled);
  const first = useAsked(hasFirst ? chunk : null, () => json<FirstRows>(chunk));
  const ready = !first.pending;
  const names = columns.map((x) => x.name).join();
  const values = useKept(ready ? names : null, () => Promise.all(columns.map((x) => column(home, x.name))));
  const found = useKept(ready && !problem ? `f ${f}` : null, () => matches(home, f));
  const sorted = useKept(ready ? chunk : null, () => order(home, sort, descending));
  const ids = useKept(ready ? "ids" : null, () => identifiers(home));
  const error = values.error ?? found.error ?? sorted.error ?? ids.error;

  const rows = useMemo(() => chosenRows(sorted.value, found.value?.mask), [sorted.value, found.value]);
  const settled = sorted.of === chunk && (found.of === `f ${f}` || problem !== null);
  const view = settled || !first.value ? rows : null;
  const count = view?.length ?? (f ? 0 : home.total);
  const placed = useMemo(() => new Map(first.value?.columns.map((name, i) => [name, i])), [first.value]);
  const all = values.of === names ? values.value : undefined;
  const idOf = (place: number) => {
    if (view && ids.value) return view[place] === undefined ? null : ids.value(view[place]);
    return first.value?.ids[place] ?? null;
  };
  const cellsOf = (place: number) => {
    if (view && all) return view[place] === undefined ? null : all.map((v) => valueAt(v, view[place]!));
    const row = f ? undefined : first.value?.rows[place];
    return row ? columns.map((x) => (placed.has(x.name) ? row[placed.get(x.name)!]! : null)) : null;
  };

  const change = (query: Record<string, string>, typed = false) => go(withQuery(route, query), typed);
  const resort = (name: string) =>
    change({ s: name === "layer" ? "" : name, d: name === sort && !descending ? "1" : "" });
  const waiting = found.pending || sorted.pending || values.pending;
  return (
    <div class="browse">
      <aside aria-label="Facets">
        <Facets
          home={home}
          filter={f}
          mask={found.value?.mask ?? null}
          count={count}
          ready={ready && !first.pending}
          broken={problem !== null || found.error !== undefined}
          onFilter={(next) => change({ f: next })}
        />
      </aside>
      <div>
        <FilterLine
          home={home}
          filter={f}
          problem={problem}
          onFilter={(next, typed) => change({ f: next }, typed)}
        />
        <div class="controls">
          <p role="status" aria-live="polite" class="total" data-shows={view && all ? `${f} ${chunk}` : undefined}>
            {waiting && !view && !first.value
              ? "Loading…"
              : `${grouped(found.value?.count ?? count)} of ${counted(home.total, "feature")}`}
            {problem ? " (of the last filter that could be read)" : ""}
          </p>
          <button
            type="button"
            disabled={!view || !all || !ids.value}
            onClick={() => save(home, columns, all!, view!, ids.value!)}
          >
            CSV of {grouped(view?.length ?? count)} rows
          </button>
          {f || s || c ? <a href={href(["features"])}>Start over</a> : null}
          {home.layout ? <a href={href(["map"], { f })}>On the map</a> : null}
        </div>
        <div class="options">
          <Help home={home} />
          <Saved home={home} filter={f} />
          <Chooser
            home={home}
            names={columns.map((x) => x.name)}
            onColumns={(next) => change({ c: next.join() })}
          />
        </div>
        {error ? (
          <p class="error" role="alert">
            {error.message}
          </p>
        ) : null}
        <Grid
          columns={columns}
          count={count}
          idOf={idOf}
          cellsOf={cellsOf}
          sort={sort}
          descending={descending}
          onSort={resort}
          hrefOf={(id) => href(["feature", nameOf(id)], { f, s, d })}
          rowsKey={`${f} ${chunk}`}
        />
        {view && !view.length ? <Empty why="No feature passes this filter." /> : null}
        <p class="note">
          Enter opens a row, <kbd>s</kbd> sorts by the column in focus, <kbd>j</kbd> and <kbd>k</kbd> move
          down and up. Numbers are those of the atlas; <span aria-hidden="true">·</span>
          <span class="hidden">a dot</span> stands for what was not measured.
        </p>
      </div>
    </div>
  );
}

/** Rows in order that pass, or null while the order is not known. */
function chosenRows(sorted: Uint32Array | undefined, mask: Uint8Array | undefined): Uint32Array | null {
  return sorted && mask ? sorted.filter((row) => mask[row]) : null;
}

/** The rows in sight and out of sight as a file. */
function save(
  home: Home,
  columns: Column[],
  values: Values[],
  rows: Uint32Array,
  idOf: (row: number) => number,
): void {
  const heads = [{ head: "id" }, ...columns.map((c) => ({ head: c.name }))];
  const lines = function* () {
    for (const row of rows) yield [nameOf(idOf(row)), ...values.map((v) => valueAt(v, row))];
  };
  const study = home.run["study"] ?? home.run["dataset"] ?? "atlas";
  download(`petriscope-${study}-features.csv`, csv(home, "Features", heads, lines()));
}

export const features: PageOf = { path: "features", nav: "Features", title: () => "Features", Page };
