// What the pages of genes, terms and regions share: names that are near, features by layer, tables of
// features and of places.
import { Figure } from "../chart/figure";
import { Bars, rowsHeight } from "../chart/charts";
import { columnsOf, identifiers } from "../data/feature";
import { valueAt } from "../data/columns";
import type { Brief, Column, Home } from "../data/format";
import { layerAt, layerOf, STRIDE } from "../data/names";
import { regionName } from "../data/filter/parse";
import { type Placed } from "../data/place";
import { search } from "../data/search";
import { useAsked } from "../data/use";
import { href } from "../route";
import { Empty, FeatureLink, Loaded } from "../ui/parts";
import { show } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";
import { counted, spoken } from "../ui/words";

/** A page that has nothing to show, with its heading. */
export function Nothing({ title, why }: { title: string; why: string }) {
  return (
    <>
      <h1>{title}</h1>
      <Empty why={why} />
    </>
  );
}

/** A name that the atlas does not know: what is near. */
export function Near({
  home,
  title,
  what,
  text,
}: {
  home: Home;
  title?: string;
  what: string;
  text: string;
}) {
  const asked = useAsked(`near ${text}`, () => search(home, text, 12));
  return (
    <>
      {title === undefined ? null : <h1>{title}</h1>}
      <p class="empty">{what}</p>
      <Loaded asked={asked} what="names that are near">
        {(found) =>
          found.length ? (
            <>
              <p>Near are:</p>
              <ul class="near">
                {found.map((f) => (
                  <li>
                    <a href={f.href}>{f.name}</a> {kindName(home, f.kind)}
                    {f.features === null ? "" : `, ${counted(f.features, "feature")}`}
                  </li>
                ))}
              </ul>
            </>
          ) : (
            <p>Nothing in this atlas resembles it.</p>
          )
        }
      </Loaded>
    </>
  );
}

/** A kind of annotation in words; other kinds (gene, region, label) are their own. */
export const kindName = (home: Home, kind: string): string =>
  home.kinds.find((k) => k.name === kind)?.one ?? kind;

/** Distinct features by layer, beside what the layers' sizes alone lead to expect. */
export function ByLayer({
  home,
  rows,
  name,
  what,
  filter,
}: {
  home: Home;
  rows: ArrayLike<number>;
  name: string;
  what: string;
  filter: string;
}) {
  const distinct = new Set(Array.from(rows));
  const count = new Map<number, number>();
  for (const row of distinct) {
    const { layer } = layerAt(home, row);
    count.set(layer, (count.get(layer) ?? 0) + 1);
  }
  const known = home.layers.every((l) => l.values["alive"] !== null && l.values["alive"] !== undefined);
  const sizes = home.layers.map((l) => (known ? l.values["alive"]! : l.size));
  const total = sizes.reduce((sum, n) => sum + n, 0);
  const bars = home.layers.map((l, i) => ({
    layer: l,
    value: count.get(l.layer) ?? 0,
    expected: total ? (distinct.size * sizes[i]!) / total : null,
  }));
  const said = (b: (typeof bars)[number]) =>
    `layer ${b.layer.name} ${b.value}, expected ${show(b.expected, "number")}`;
  const height = rowsHeight(bars.length);
  const kind = known ? "alive features" : "features";
  return (
    <Figure
      home={home}
      name={`${name}-by-layer`}
      title={`${what}, by layer`}
      alt={`${what}: ${bars.map(said).join("; ")}`}
      note={
        <>
          Dashed: the number expected if the {counted(distinct.size, "feature")} were spread over the layers
          as their {kind} are ({distinct.size} × {kind} of the layer / {kind} of all layers,{" "}
          {show(total, "count")}).
        </>
      }
      data={{
        heads: [
          { head: "layer", form: "text" },
          { head: "features", form: "count" },
          { head: "expected", form: "number" },
          { head: kind, form: "count" },
        ],
        rows: bars.map((b, i) => [b.layer.name, b.value, b.expected, sizes[i]!]),
      }}
      width={560}
      height={height}
    >
      <Bars
        width={560}
        height={height}
        nullName="expected"
        nullForm="number"
        xLabel="features"
        form="count"
        rows={bars.map((b) => ({
          label: `layer ${b.layer.name}`,
          value: b.value,
          null: b.expected,
          href: href(["features"], { f: `${filter} layer:${b.layer.layer}` }),
        }))}
      />
    </Figure>
  );
}

/** Numbers of a list of features that belong to the list, not to the feature: rank, q, estimate. */
export interface Extra {
  head: Head;
  values: Cell[];
}

/** Features of a list in its order, with what the atlas says of each. */
export function FeatureTable({
  home,
  caption,
  rows,
  extra,
  brief,
}: {
  home: Home;
  caption: string;
  rows: number[];
  extra: Extra[];
  /** What the file of the list says of its first rows: these are shown, and no column is read. */
  brief?: Brief | undefined;
}) {
  const names = home.contrasted ? ["q", "cds", "lineage", "direction", "label"] : ["density", "label"];
  const own = names.flatMap((name) => home.columns.filter((c) => c.name === name && c.filled));
  const asked = useAsked(`list ${caption} ${own.length} ${brief ? "brief" : ""}`, async () => ({
    id: await identifiers(home),
    columns: brief ? null : await columnsOf(home, names),
  }));
  const several = home.layers.some((l) => l.model !== null);
  const limit = Math.min(LISTED, ...(brief ? Object.values(brief).map((values) => values.length) : []));
  return (
    <Loaded asked={asked} what="features">
      {({ id, columns }) => {
        const cell = (c: Column, row: number, place: number): Cell => {
          const value = columns ? valueAt(columns[c.name]!, row) : (brief?.[c.name]?.[place] ?? null);
          return c.name === "direction" ? spoken(value as string | null) || null : value;
        };
        const heads: Head[] = [
          { head: "feature", form: "text" },
          ...(several ? [{ head: "layer", form: "text" as const }] : []),
          ...extra.map((e) => e.head),
          ...own.map((c) => headOf(home, c)),
        ];
        const lines = rows
          .slice(0, limit)
          .map((row, i): Cell[] => [
            link(id(row)),
            ...(several ? [layerAt(home, row).name] : []),
            ...extra.map((e) => e.values[i] ?? null),
            ...own.map((c) => cell(c, row, i)),
          ]);
        return (
          <Table
            caption={`${caption}${rows.length > limit ? ` (the first ${limit} of ${rows.length})` : ""}`}
            heads={heads}
            rows={lines}
            limit={limit}
          />
        );
      }}
    </Loaded>
  );
}

const LISTED = 500;

/** The page of a term or a gene. */
export const pageOf = ({ kind, name }: { kind: string; name: string }): string =>
  kind === "gene" ? href(["gene", name]) : href(["term", `${kind}:${name}`]);

/** What the condition in which a feature is higher is called, beside a column "label". */
export const conditionHead = (home: Home): string =>
  home.words.condition === "label" ? "higher in" : home.words.condition;

/** The head of a column; lineage and direction are called as the study calls them. */
const headOf = (home: Home, column: Column): Head => ({
  head:
    column.name === "lineage"
      ? home.words.stratum
      : column.name === "direction"
        ? conditionHead(home)
        : column.head,
  form: column.form,
  text: column.text,
});

/** A feature as a cell of a table. */
export const link = (id: number, label?: string | null): Cell => ({
  value: `L${Math.floor(id / STRIDE)}/${id % STRIDE}`,
  node: <FeatureLink id={id} label={label} />,
});

/** Top contexts in a region, strongest first. */
export function PlaceTable({
  home,
  caption,
  places,
  from,
}: {
  home: Home;
  caption: string;
  places: Placed[];
  /** A start site that distances are told from. */
  from?: { name: string; tss: number };
}) {
  const asked = useAsked("identifiers", () => identifiers(home));
  const condition = home.unit_columns.find((c) => c.name === home.words.condition);
  return (
    <Loaded asked={asked} what="names of features">
      {(id) => (
        <Table
          caption={caption}
          heads={[
            { head: "feature", form: "text" },
            { head: "activation", form: "number" },
            { head: "place", form: "text" },
            ...(from
              ? [
                  {
                    head: `from ${from.name}`,
                    form: "text" as const,
                    text: "from its start site to the middle of the place",
                  },
                ]
              : []),
            { head: home.words.unit, form: "text" },
            ...(condition ? [{ head: home.words.condition, form: "text" as const }] : []),
          ]}
          rows={places.slice(0, 200).map((p): Cell[] => {
            const unit = home.units[p.unit],
              name = regionName(p);
            return [
              link(id(p.row)),
              p.activation,
              { value: name, node: <a href={href(["region", name])}>{name}</a> },
              ...(from ? [distance(Math.floor((p.start + p.end) / 2) - from.tss)] : []),
              unit?.unit ?? null,
              ...(condition ? [spoken(String(unit?.values[condition.name] ?? "")) || null] : []),
            ];
          })}
        />
      )}
    </Loaded>
  );
}

/** A signed distance: +1.2 kb, -340 bp. */
export function distance(bases: number): string {
  const far = Math.abs(bases) >= 1000,
    text = far ? (bases / 1000).toFixed(1) : String(bases);
  return `${text.startsWith("-") ? text : `+${text}`} ${far ? "kb" : "bp"}`;
}

/** A layer of an identifier in words. */
export const layerName = (home: Home, id: number): string =>
  layerOf(home, Math.floor(id / STRIDE))?.name ?? String(Math.floor(id / STRIDE));
