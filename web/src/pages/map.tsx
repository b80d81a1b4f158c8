// The map: all features, or those of a layer, where a layout put them. Color, filter, layer and brush
// stand in the address; the features table is the same data for who cannot see it.
import { useMemo, useState } from "preact/hooks";
import { Figure } from "../chart/figure";
import { items } from "../data/chunk";
import { column, valueAt, type Values } from "../data/columns";
import { identifiers } from "../data/feature";
import { matches } from "../data/filter";
import type { Column, Home } from "../data/format";
import { nameOf } from "../data/names";
import { useKept } from "../data/use";
import { go, href, withQuery } from "../route";
import { Empty, FeatureLink, Loaded } from "../ui/parts";
import { grouped, show } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";
import { counted } from "../ui/words";
import { FilterLine } from "./features/line";
import { fault, toggled } from "./features/terms";
import { Drawing, KEY, type Brush } from "./map/drawing";
import { coloring, painted, palette, unit, type Coloring, type Positions } from "./map/paint";
import type { PageOf, PageProps } from "./page";

const SIDE = 640;
/** Features of a brush that are listed. */
const LISTED = 200;
/** Whole numbers that name something rather than measure it. */
const NAMES = ["layer", "module"];

interface Data {
  at: Positions;
  label: Values | null;
  idOf: (row: number) => number;
}

function Page(props: PageProps) {
  const { home } = props;
  const layout = home.layout;
  return (
    <>
      <h1>Map</h1>
      {layout ? (
        <Map {...props} layout={layout} />
      ) : (
        <Empty why={home.empty["map"] ?? "This atlas holds no positions."} />
      )}
    </>
  );
}

async function load(home: Home): Promise<Data> {
  const labelled = home.columns.some((c) => c.name === "label" && c.filled);
  const [x, y, label, idOf] = await Promise.all([
    items("col/x", 4, home.total),
    items("col/y", 4, home.total),
    labelled ? column(home, "label") : null,
    identifiers(home),
  ]);
  return { at: unit(new Float32Array(x), new Float32Array(y)), label, idOf };
}

const isName = (c: Column): boolean => c.kind === "text" || NAMES.includes(c.name);

/** Columns that can color the map: words and numbers of modules first, then scores. */
function choices(home: Home): Column[] {
  const filled = home.columns.filter((c) => c.filled && c.name !== "label" && c.name !== "feature");
  return [...filled.filter(isName), ...filled.filter((c) => !isName(c))];
}

function Map({ home, route, layout }: PageProps & { layout: NonNullable<Home["layout"]> }) {
  const { f = "", layer = "", color = "", sel = "" } = route.query;
  const columns = useMemo(() => choices(home), [home]);
  const by =
    columns.find((c) => c.name === color) ??
    columns.find((c) => c.name === "lineage") ??
    columns.find((c) => c.name === "module") ??
    columns[0]!;
  const problem = useMemo(() => fault(home, f), [home, f]);
  const data = useKept("map", () => load(home));
  const values = useKept(by.name, () => column(home, by.name));
  const found = useKept(problem ? null : `f ${f}`, () => matches(home, f));
  const change = (query: Record<string, string>, typed = false) => go(withQuery(route, query), typed);
  return (
    <>
      <p class="lead">
        Each point is a feature{layer ? ` of layer ${layer}` : ", those of all layers together"}.
        {by.name === "module" && !layer
          ? " Modules are numbered layer by layer: choose a layer to tell them apart."
          : ""}
      </p>
      <FilterLine
        home={home}
        filter={f}
        problem={problem}
        onFilter={(next, typed) => change({ f: next }, typed)}
      />
      <div class="controls">
        <label>
          color{" "}
          <select value={by.name} onChange={(e) => change({ color: e.currentTarget.value })}>
            {columns.map((c) => (
              <option key={c.name} value={c.name}>
                {c.head}
              </option>
            ))}
          </select>
        </label>
        <label>
          layer{" "}
          <select value={layer} onChange={(e) => change({ layer: e.currentTarget.value })}>
            <option value="">all</option>
            {home.layers
              .filter((l) => l.size)
              .map((l) => (
                <option key={l.layer} value={String(l.layer)}>
                  {l.name}
                </option>
              ))}
          </select>
        </label>
        <a href={href(["features"], { f: inLayer(f, layer) })}>The same features as a table</a>
      </div>
      {found.error ? (
        <p class="error" role="alert">
          {found.error.message}
        </p>
      ) : null}
      <Loaded asked={values} what={by.head}>
        {(loaded) => (
          <Loaded asked={data} what="the positions">
            {(where) => (
              <Drawn
                home={home}
                layout={layout}
                data={where}
                values={loaded}
                layer={layer}
                filter={f}
                mask={found.value?.mask ?? new Uint8Array(home.total).fill(1)}
                brush={brushOf(sel)}
                onBrush={(brush) => change({ sel: brush ? brush.map((v) => v.toFixed(3)).join() : "" })}
                onFilter={(next) => change({ f: next })}
              />
            )}
          </Loaded>
        )}
      </Loaded>
    </>
  );
}

const inLayer = (f: string, layer: string): string => (layer ? `${f} layer:${layer}`.trim() : f);

function brushOf(text: string): Brush | null {
  const parts = text.split(",").map(Number);
  return text && parts.length === 4 && parts.every(Number.isFinite) ? (parts as unknown as Brush) : null;
}

function Drawn({
  home,
  layout,
  data,
  values,
  layer,
  filter,
  mask,
  brush,
  onBrush,
  onFilter,
}: {
  home: Home;
  layout: NonNullable<Home["layout"]>;
  data: Data;
  values: Values;
  layer: string;
  filter: string;
  mask: Uint8Array;
  brush: Brush | null;
  onBrush: (brush: Brush | null) => void;
  onFilter: (filter: string) => void;
}) {
  const { at, idOf } = data,
    { column: by } = values;
  const theme = palette();
  const [under, setUnder] = useState<number | null>(null);
  const rows = useMemo(() => rowsOf(home, at, layer), [home, at, layer]);
  const colored = useMemo(() => coloring(values, isName(by), rows, theme), [values, rows, theme.key]);
  const image = useMemo(
    () => painted(at, rows, mask, colored.colors, theme.pale, 2 * SIDE),
    [at, rows, mask, colored],
  );
  const passing = useMemo(() => rows.filter((row) => mask[row]), [rows, mask]);
  const inside = useMemo(
    () => (brush ? passing.filter((row) => within(at, row, brush)) : null),
    [at, passing, brush?.join()],
  );
  const open = (row: number) => go(href(["feature", nameOf(idOf(row))], { f: filter }));
  const heads: Head[] = [
    { head: "feature", form: "text" },
    { head: "x", form: "number" },
    { head: "y", form: "number" },
    { head: by.head, form: by.form, text: by.text },
  ];
  const told = `${counted(passing.length, "feature")}${filter ? ` of ${grouped(rows.length)} that pass ${filter}` : ""}`;
  return (
    <>
      <p role="status" aria-live="polite">
        {told}
        {brush ? `; ${grouped(inside!.length)} in the rectangle` : ""}
      </p>
      <div class="pair">
        <div class="plot">
          <Figure
            home={home}
            name="map"
            title={`Features by ${by.head}`}
            width={SIDE}
            height={SIDE + KEY}
            square
            alt={`Map of ${told}, colored by ${by.head}; ${legend(colored, by)}`}
            note={
              <>
                Positions: {layout.method}, seed {layout.seed}
                {layout.parameters ? `, ${layout.parameters}` : ""}
                {layout.share_x != null && layout.share_y != null
                  ? `; ${show(layout.share_x, "share")} of the variance lies along x, ${show(layout.share_y, "share")} along y`
                  : ""}
                . <strong>Position is no evidence</strong>: what lies side by side here was put there by that
                method; whether features belong together is tested elsewhere.
              </>
            }
            data={{
              heads,
              get rows() {
                return tabled(passing, at, values, idOf);
              },
            }}
          >
            <Drawing
              width={SIDE}
              image={image}
              coloring={colored}
              form={by.form}
              at={at}
              rows={passing}
              brush={brush}
              onBrush={onBrush}
              onPoint={setUnder}
              onOpen={open}
            />
          </Figure>
        </div>
        <div>
          <p class="note" aria-hidden="true">
            {under === null ? "Drag to list features, click a point to open it." : named(under, data, values)}
          </p>
          <Groups coloring={colored} name={by.name} filter={filter} onFilter={onFilter} />
          {inside ? <List rows={inside} data={data} values={values} onClear={() => onBrush(null)} /> : null}
        </div>
      </div>
    </>
  );
}

function rowsOf(home: Home, at: Positions, layer: string): Uint32Array {
  const one = layer ? home.layers.find((l) => String(l.layer) === layer) : undefined;
  const all = Uint32Array.from({ length: one?.size ?? home.total }, (_, i) => (one?.first ?? 0) + i);
  return all.filter((row) => !Number.isNaN(at.x[row]!) && !Number.isNaN(at.y[row]!));
}

const within = ({ x, y }: Positions, row: number, [left, top, right, bottom]: Brush): boolean =>
  x[row]! >= left && x[row]! <= right && y[row]! >= top && y[row]! <= bottom;

function tabled(rows: Uint32Array, at: Positions, values: Values, idOf: (row: number) => number): Cell[][] {
  return Array.from(rows, (row) => [nameOf(idOf(row)), at.x[row]!, 1 - at.y[row]!, valueAt(values, row)]);
}

function legend({ groups, scale }: Coloring, by: Column): string {
  if (scale) return `from ${show(scale.low, by.form)} to ${show(scale.high, by.form)}`;
  return groups.map((g) => `${g.word} ${g.count}`).join(", ");
}

function named(row: number, { label, idOf }: Data, values: Values): string {
  const word = label ? valueAt(label, row) : null;
  return [nameOf(idOf(row)), word, `${values.column.head} ${show(valueAt(values, row), values.column.form)}`]
    .filter(Boolean)
    .join(" · ");
}

/** The categories as buttons: each alone in color, so that nobody has to tell two colors apart. */
function Groups({
  coloring: { groups },
  name,
  filter,
  onFilter,
}: {
  coloring: Coloring;
  name: string;
  filter: string;
  onFilter: (filter: string) => void;
}) {
  const known = groups.filter((g) => g.value !== null);
  if (known.length < 2) return null;
  return (
    <div class="controls" role="group" aria-label="Show one group alone">
      <span class="dim">Alone:</span>
      {known.map((g) => (
        <button key={g.value} type="button" onClick={() => onFilter(toggled(filter, name, g.value!))}>
          {g.word}
        </button>
      ))}
    </div>
  );
}

function List({
  rows,
  data,
  values,
  onClear,
}: {
  rows: Uint32Array;
  data: Data;
  values: Values;
  onClear: () => void;
}) {
  const { label, idOf } = data,
    { column: by } = values;
  const heads: Head[] = [
    { head: "feature", form: "text" },
    { head: "label", form: "text" },
    { head: by.head, form: by.form },
  ];
  const cells = Array.from(rows.subarray(0, LISTED), (row): Cell[] => [
    { value: nameOf(idOf(row)), node: <FeatureLink id={idOf(row)} /> },
    label ? valueAt(label, row) : null,
    valueAt(values, row),
  ]);
  return (
    <section>
      <h2>In the rectangle</h2>
      <button type="button" onClick={onClear}>
        Clear
      </button>
      <Table
        caption={`${counted(rows.length, "feature")}${rows.length > LISTED ? `, the first ${LISTED} by number` : ""}`}
        heads={heads}
        rows={cells}
      />
    </section>
  );
}

export const map: PageOf = { path: "map", nav: "Map", title: () => "Map", Page };
