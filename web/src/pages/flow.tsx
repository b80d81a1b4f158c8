// Links between the features of two layers: which pairs were computed, the modules that links run
// between beside chance, the strongest links, and how many features are found again.
import { layerWords } from "../data/names";
import { Flows } from "../chart/charts";
import { Figure } from "../chart/figure";
import { json } from "../data/chunk";
import type { FlowGraph, Home, Numbers } from "../data/format";
import { useAsked } from "../data/use";
import { type Route } from "../route";
import { Empty, FeatureLink, Loaded } from "../ui/parts";
import { bound, show } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";
import { Continued } from "./flow_continued";
import { Curves } from "./flow_curves";
import { Chooser, pairsOf, type Pair } from "./flow_pairs";
import { Measures, moduleHref, UNTESTED } from "./network";
import type { PageOf, PageProps } from "./page";

const WIDTH = 860;
/** Bands of the drawing; the table holds all. */
const BANDS = 40;
const LINKS = 60;
/** What a link is, by its kind. */
const WORDS: Record<string, string> = {
  z: "both fire on the same tokens more often than the genes of the tokens give (standard deviations)",
  pmi: "both fire on the same tokens, which genes alone may make them do (pointwise mutual information)",
  decoder: "the other is the nearest decoder direction of its layer (cosine)",
};

function Page({ home, route }: PageProps) {
  const numbers = useAsked(home.has.includes("numbers") ? "numbers" : null, () =>
    json<Numbers>("numbers"),
  );
  if (numbers.pending || numbers.error)
    return (
      <Loaded asked={numbers} what="the numbers">
        {() => <></>}
      </Loaded>
    );
  const measured = (numbers.value ?? []).filter((n) => n.layer !== null && n.other_layer !== null);
  const pairs = pairsOf(home, measured);
  if (!pairs.length)
    return (
      <>
        <h1>Flow</h1>
        <Empty why={home.empty["flow"] ?? ""} />
      </>
    );
  const chosen = choose(pairs, route);
  return (
    <>
      <h1>Flow between layers</h1>
      <p>
        Which features of one layer go with which of another, and between which modules these links run. A
        link does not say that a feature persists. Pairs of layers that no stage compared are marked “not
        computed”.
      </p>
      <Chooser home={home} pairs={pairs} chosen={chosen} route={route} />
      {chosen ? (
        <Chosen home={home} pair={chosen} />
      ) : (
        <Empty
          why={`${route.query.a ?? "?"} to ${route.query.b ?? "?"}: not computed. Choose another pair.`}
        />
      )}
      <Curves home={home} measured={measured} />
    </>
  );
}

/** The pair of the address; without one the first of which most is known. */
function choose(pairs: Pair[], route: Route): Pair | undefined {
  if (route.query.a === undefined && route.query.b === undefined)
    return pairs.find((p) => p.linked && p.measured.length) ?? pairs.find((p) => p.linked) ?? pairs[0];
  return pairs.find((p) => String(p.layer) === route.query.a && String(p.other) === route.query.b);
}

function Chosen({ home, pair }: { home: Home; pair: Pair }) {
  const name = pair.linked ? `graph/flow-${pair.layer}-${pair.other}` : null;
  const asked = useAsked(name, () => json<FlowGraph>(name!));
  const title = `${layerWords(home, pair.layer)} to ${layerWords(home, pair.other)}`;
  return (
    <section>
      <h2>{title[0]!.toUpperCase() + title.slice(1)}</h2>
      {pair.flow ? <Continued home={home} flow={pair.flow} measured={pair.measured} /> : null}
      <Measures
        home={home}
        rows={pair.measured}
        caption="Measured of this pair, beside what chance gives"
      />
      {name ? (
        <Loaded asked={asked} what="the links">
          {(found) => <Links home={home} found={found} />}
        </Loaded>
      ) : (
        <p class="note">Single links of this pair: not computed.</p>
      )}
    </section>
  );
}

const FLOW_HEADS: Head[] = [
  { head: "from", form: "text" },
  { head: "to", form: "text" },
  { head: "links", form: "count" },
  {
    head: "expected by chance",
    form: "number",
    text: "links of the one module times links of the other, over all links",
  },
  { head: "over expected", form: "number" },
];

function Links({ home, found }: { home: Home; found: FlowGraph }) {
  const label = (module: number) => (module < 0 ? "no module" : `module ${module}`);
  const node = (layer: number, module: number) =>
    module < 0 || !found.graph ? (
      label(module)
    ) : (
      <a href={moduleHref(found.graph, layer, module)}>{label(module)}</a>
    );
  const flows = [...found.modules].sort((x, y) => y[2] - x[2] || x[0] - y[0] || x[1] - y[1]);
  const rows: Cell[][] = flows.map(([a, b, links, chance]) => [
    { value: label(a), node: node(found.layer, a) },
    { value: label(b), node: node(found.other_layer, b) },
    links,
    chance,
    chance ? links / chance : null,
  ]);
  const tested = found.significant !== undefined && found.significant !== null;
  const all = found.total ?? flows.reduce((sum, f) => sum + f[2], 0);
  const drawn = flows.slice(0, BANDS);
  const title = `${layerWords(home, found.layer)} and ${layerWords(home, found.other_layer)}`;
  const number = show(tested ? found.significant : all, "count");
  const ends = (side: 0 | 1) =>
    [...new Set(drawn.map((f) => f[side]))]
      .sort((x, y) => (x < 0 ? 1 : y < 0 ? -1 : x - y))
      .map((module) => ({ key: String(module), label: label(module) }));
  const counted = tested
    ? ` Counted are the ${show(found.significant, "count")} of ${show(found.total, "count")} links with ` +
      `p < ${bound(home.thresholds.alpha)}.`
    : "";
  const left = ends(0),
    right = ends(1);
  const height = Math.max(220, 26 * Math.max(left.length, right.length) + 40);
  return (
    <>
      {flows.length ? (
        <>
          <Figure
            home={home}
            name={`flow-${found.layer}-${found.other_layer}`}
            width={WIDTH}
            height={height}
            title={`Links between the modules of ${title}`}
            alt={
              `${number} links; most run from ${label(flows[0]![0])} ` +
              `to ${label(flows[0]![1])}: ` +
              `${flows[0]![2]}, ${show(flows[0]![3], "number")} expected.`
            }
            note={
              (drawn.length < flows.length
                ? `The ${drawn.length} widest of ${flows.length} bands. `
                : "") +
              "Pale and striped: no more than expected, which is what the links of both modules alone " +
              "give." +
              counted
            }
            data={{ heads: FLOW_HEADS, rows }}
          >
            <Flows
              width={WIDTH}
              height={height}
              left={left}
              right={right}
              leftTitle={layerWords(home, found.layer)}
              rightTitle={layerWords(home, found.other_layer)}
              href={(side, key) =>
                key === "-1" || !found.graph
                  ? undefined
                  : moduleHref(
                      found.graph,
                      side === "left" ? found.layer : found.other_layer,
                      Number(key),
                    )
              }
              links={drawn.map(([a, b, value, chance]) => ({
                from: String(a),
                to: String(b),
                value,
                null: chance,
              }))}
            />
          </Figure>
          <Table
            caption="Links between modules, observed and expected"
            heads={FLOW_HEADS}
            rows={rows}
            limit={100}
          />
        </>
      ) : null}
      <Strongest found={found} all={all} />
    </>
  );
}

function Strongest({ found, all }: { found: FlowGraph; all: number }) {
  const links = found.links.slice(0, LINKS);
  const tested = links.some((k) => k.p !== null),
    counted = links.some((k) => k.tokens !== null);
  const heads: Head[] = [
    { head: "feature", form: "id" },
    { head: "with", form: "id" },
    { head: "kind", form: "text" },
    { head: "value", form: "number" },
    ...(counted ? [{ head: "tokens", form: "count", text: "on which both fire" } as const] : []),
    { head: "p", form: "p", text: "over all partners, permuted within genes" },
    { head: "label", form: "text" },
    { head: "of the other", form: "text" },
  ];
  const rows: Cell[][] = links.map((k) => [
    { value: k.id, node: <FeatureLink id={k.id} /> },
    { value: k.other, node: <FeatureLink id={k.other} /> },
    k.kind,
    k.value,
    ...(counted ? [k.tokens] : []),
    { value: k.p, node: k.p === null ? UNTESTED : show(k.p, "p") },
    k.label,
    k.other_label,
  ]);
  return (
    <>
      <Table
        caption={`${links.length} of ${show(Math.max(all, links.length), "count")} links, strongest first`}
        heads={heads}
        rows={rows}
        limit={LINKS}
      />
      <p class="note">
        {[...new Set(links.map((k) => k.kind))].map((kind) =>
          WORDS[kind] ? `${kind}: ${WORDS[kind]}. ` : "",
        )}
        {tested
          ? "p: over all partners of a feature, permuted within genes (single step maxT)."
          : "No single link was tested."}
      </p>
    </>
  );
}

export const flow: PageOf = { path: "flow", nav: "Flow", title: () => "Flow between layers", Page };
