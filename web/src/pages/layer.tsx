// One layer: its statistics, how its features are spread, its modules, its top features by a score.
import { Histogram } from "../chart/charts";
import { Figure } from "../chart/figure";
import { json } from "../data/chunk";
import { column, valueAt, type Values } from "../data/columns";
import type { Column, Home, Layer, ModuleGraph, Numbers } from "../data/format";
import { idAt, layerWords } from "../data/names";
import { useAsked } from "../data/use";
import { href, withQuery, type Route } from "../route";
import { Choices } from "../ui/choices";
import { Empty, FeatureLink, Loaded } from "../ui/parts";
import { grouped } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";
import { context } from "./curve";
import type { PageOf, PageProps } from "./page";
import { between, inForm, statistics } from "./statistics";

const TOP = 20,
  MODULES = 40,
  WIDTH = 620;

function Page({ home, route }: PageProps) {
  const at = home.layers.findIndex((l) => String(l.layer) === route.path[1]);
  const layer = home.layers[at];
  const known = home.layers.map((l) => l.layer).join(", ");
  if (!layer) {
    return (
      <>
        <h1>Layer</h1>
        <Empty why={`There is no layer ${route.path[1] ?? ""} in this atlas; it has ${known || "none"}.`} />
      </>
    );
  }
  const before = home.layers[at - 1],
    after = home.layers[at + 1],
    words = layerWords(home, layer.layer);
  return (
    <>
      <h1>{headed(words)}</h1>
      <nav class="choices" aria-label="Layers">
        {before ? (
          <a rel="prev" href={href(["layer", before.layer])}>
            ← {layerWords(home, before.layer)}
          </a>
        ) : null}
        {after ? (
          <a rel="next" href={href(["layer", after.layer])}>
            {layerWords(home, after.layer)} →
          </a>
        ) : null}
        <a href={href(["layers"])}>all layers</a>
        <a href={href(["features"], { f: `layer:${layer.layer}` })}>its {grouped(layer.size)} features</a>
      </nav>
      <Statistics home={home} layer={layer} />
      <Densities home={home} layer={layer} />
      <Modules home={home} layer={layer} />
      <TopFeatures home={home} layer={layer} route={route} />
    </>
  );
}

/** Every statistic of this layer beside its null. */
function Statistics({ home, layer }: { home: Home; layer: Layer }) {
  const wanted = home.has.includes("numbers");
  const asked = useAsked(wanted ? "numbers" : null, () => json<Numbers>("numbers"));
  const table = (numbers: Numbers) => (
    <Table
      caption="Statistics of this layer"
      heads={[
        { head: "statistic", form: "text" },
        { head: "value", form: "number" },
        { head: "95 % interval", form: "text" },
        { head: "null", form: "number" },
        { head: "95 % of the null", form: "text" },
        { head: "what it is", form: "text" },
      ]}
      rows={statistics(home, context(home), numbers).flatMap((s): Cell[][] => {
        const p = s.points.find((point) => point.layer === layer.layer);
        if (!p || p.value === null) return [];
        return [
          [
            s.title,
            { value: p.value, node: inForm(p.value, s.form) },
            between(p.lo, p.hi, s.form, s.without),
            { value: p.null, node: p.null === null ? s.without : inForm(p.null, s.form) },
            between(p.nullLo, p.nullHi, s.form, s.without),
            p.note ?? s.note ?? null,
          ],
        ];
      })}
    />
  );
  return wanted ? (
    <Loaded asked={asked} what="the numbers of the layers">
      {table}
    </Loaded>
  ) : (
    table([])
  );
}

function Densities({ home, layer }: { home: Home; layer: Layer }) {
  const bins = layer.densities.map(([at, count]) => ({ from: 10 ** at, to: 10 ** (at + 0.5), count }));
  if (bins.length === 0)
    return (
      <>
        <h2>Density</h2>
        <Empty why="No density of features was measured in this layer." />
      </>
    );
  return (
    <>
      <h2>Density</h2>
      <Figure
        home={home}
        name={`density-${layer.layer}`}
        title={`Features of ${layerWords(home, layer.layer)} by the share of tokens on which they fire`}
        width={WIDTH}
        height={260}
        alt={`Histogram of the density of ${grouped(layer.size)} features in half decades.`}
        note="Half decades; a description without a null."
        data={{
          heads: [
            { head: "density from", form: "share" },
            { head: "to", form: "share" },
            { head: "features", form: "count" },
          ],
          rows: bins.map((b) => [b.from, b.to, b.count]),
        }}
      >
        <Histogram
          width={WIDTH}
          height={260}
          bins={bins}
          xLog
          xLabel="share of tokens on which the feature fires"
          yLabel="features"
        />
      </Figure>
    </>
  );
}

function Modules({ home, layer }: { home: Home; layer: Layer }) {
  const graphs = home.modules.filter(([, at]) => at === layer.layer).map(([graph]) => graph);
  return (
    <>
      <h2>Modules</h2>
      {graphs.length ? (
        graphs.map((graph) => <GraphModules key={graph} graph={graph} layer={layer.layer} />)
      ) : (
        <Empty why={home.empty["modules"] ?? "No module of features was found in this layer."} />
      )}
    </>
  );
}

/** Numbers of a module that not every study has. */
const MEASURES: (Head & { name: "density" | "stability" })[] = [
  {
    name: "density",
    head: "density",
    form: "number",
    text: "share of pairs of its features that are linked",
  },
  { name: "stability", head: "stability", form: "number", text: "found again when the graph is resampled" },
];

function GraphModules({ graph, layer }: { graph: string; layer: number }) {
  const asked = useAsked(`modules-${graph}-${layer}`, () =>
    json<ModuleGraph>(`graph/modules-${graph}-${layer}`),
  );
  return (
    <Loaded asked={asked} what="the modules">
      {({ modules }) => (
        <Table
          caption={`Modules of the graph ${graph.replaceAll("_", " ")}`}
          limit={MODULES}
          heads={[
            { head: "module", form: "text" },
            { head: "features", form: "count" },
            { head: "label", form: "text" },
            ...MEASURES.filter(({ name }) => modules.some((m) => m[name] !== null)),
            { head: "most telling term", form: "text", text: "the least p of all its terms" },
            { head: "features with it", form: "count" },
            { head: "expected", form: "number", text: "by chance: size times the term's share of the layer" },
            { head: "p, uncorrected", form: "p", text: "hypergeometric, of the best of all terms" },
          ]}
          rows={[...modules]
            .sort((a, b) => (b.size ?? 0) - (a.size ?? 0))
            .map((m): Cell[] => {
              const term = m.terms.filter((t) => t[2] > t[4]).sort((a, b) => a[5] - b[5])[0];
              return [
                {
                  value: m.module,
                  node: <a href={href(["module", `${graph}/${layer}/${m.module}`])}>{m.module}</a>,
                },
                m.size,
                m.label,
                ...MEASURES.filter(({ name }) => modules.some((one) => one[name] !== null)).map(
                  ({ name }) => m[name],
                ),
                term ? term[1] : "none",
                term ? term[2] : null,
                term ? term[4] : null,
                term ? term[5] : null,
              ];
            })}
        />
      )}
    </Loaded>
  );
}

/** Numbers by which features are ranked: those that are shown and filled, without identifiers. */
const scores = (home: Home): Column[] =>
  home.columns.filter(
    (c) =>
      c.filled &&
      c.kind !== "text" &&
      !["id", "layer", "feature", "module", "x", "y"].includes(c.name) &&
      c.form !== "flag" &&
      c.form !== "id",
  );

/** q and p are best where they are small. */
const ascending = (c: Column) => c.form === "p";

function TopFeatures({ home, layer, route }: { home: Home; layer: Layer; route: Route }) {
  const all = scores(home),
    chosen =
      all.find((c) => c.name === route.query["s"]) ??
      all.find((c) => c.shown && c.form === "signed") ??
      all.find((c) => c.shown) ??
      all[0];
  const asked = useAsked(chosen?.name ?? null, () => column(home, chosen!.name));
  const labels = useAsked(home.columns.some((c) => c.name === "label" && c.filled) ? "label" : null, () =>
    column(home, "label"),
  );
  const index = useAsked(layer.contiguous ? null : "feature", () => column(home, "feature"));
  if (!chosen)
    return (
      <>
        <h2>Top features</h2>
        <Empty why="No score of features is in this atlas." />
      </>
    );
  return (
    <>
      <h2>Top features</h2>
      <Choices
        label="by"
        choices={all.map((c) => ({
          text: c.head || c.name,
          title: c.text,
          href: withQuery(route, { s: c.name }),
          on: c === chosen,
        }))}
      />
      <Loaded asked={asked} what="the scores">
        {(values) =>
          layer.contiguous || index.value ? (
            <Table
              caption={`${chosen.text || chosen.name}: the ${TOP} ${ascending(chosen) ? "least" : "largest"}`}
              heads={[
                { head: "feature", form: "text" },
                { head: chosen.head || chosen.name, form: chosen.form, text: chosen.text },
                ...(labels.value ? [{ head: "label", form: "text" as const }] : []),
              ]}
              rows={top(layer, values, ascending(chosen)).map((row): Cell[] => {
                const id = idAt(home, row, index.value?.raw);
                return [
                  { value: id, node: <FeatureLink id={id} /> },
                  valueAt(values, row),
                  ...(labels.value ? [valueAt(labels.value, row)] : []),
                ];
              })}
            />
          ) : null
        }
      </Loaded>
      <p>
        <a
          href={href(["features"], {
            f: `layer:${layer.layer}`,
            s: chosen.name,
            d: ascending(chosen) ? null : "down",
          })}
        >
          All of them in the feature browser
        </a>
      </p>
    </>
  );
}

/** Rows of the layer with the best values; missing values are none. */
function top(layer: Layer, values: Values, small: boolean): number[] {
  const rows: number[] = [];
  for (let row = layer.first; row < layer.first + layer.size; row++)
    if (typeof valueAt(values, row) === "number") rows.push(row);
  const value = (row: number) => valueAt(values, row) as number;
  return rows.sort((a, b) => (small ? value(a) - value(b) : value(b) - value(a)) || a - b).slice(0, TOP);
}

/** A number gets a capital, the name of a model stays as it is written. */
const headed = (words: string): string => words.replace(/^layer /, "Layer ");

export const layer: PageOf = {
  path: "layer",
  nav: null,
  Page,
  title: (route, home) => (route.path[1] ? headed(layerWords(home, Number(route.path[1]))) : "Layer"),
};
