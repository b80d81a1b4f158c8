// Modules of one layer: communities of features that fire together, the links between them, and
// their terms beside what chance gives.
import { layerWords } from "../data/names";
import { Figure } from "../chart/figure";
import { NodeLink } from "../chart/charts";
import { json } from "../data/chunk";
import type { Home, Measured, Module, ModuleGraph, Numbers } from "../data/format";
import { useAsked } from "../data/use";
import { href, withQuery, type Route } from "../route";
import { Choices } from "../ui/choices";
import { Empty, Loaded } from "../ui/parts";
import { show } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";
import {
  aboutGraph,
  columnGraph,
  Measures,
  moduleHref,
  shown,
  termHref,
  topTerm,
  UNTESTED,
} from "./network";
import type { PageOf, PageProps } from "./page";

const WIDTH = 860,
  HEIGHT = 520;
/** Numbers of a layer that speak of its modules, by their name in the table numbers. */
const OF_MODULES = /modul|coheren/i;
/** Terms told of a module in a row, and letters of a term in the drawing. */
const TERMS = 3,
  NAME = 24;

function Page({ home, route }: PageProps) {
  const numbers = useAsked(home.has.includes("numbers") ? "numbers" : null, () =>
    json<Numbers>("numbers"),
  );
  const chosen = choose(home, route);
  const name = chosen && `graph/modules-${chosen.graph}-${chosen.layer}`;
  const asked = useAsked(name, () => json<ModuleGraph>(name!));
  if (!chosen)
    return (
      <>
        <h1>Modules</h1>
        <Empty why={home.empty["modules"] ?? ""} />
      </>
    );
  const graphs = [...new Set(home.modules.map(([graph]) => graph))];
  const layers = home.modules.filter(([graph]) => graph === chosen.graph);
  const measured = numbers.value ?? [];
  return (
    <>
      <h1>Modules of {layerWords(home, chosen.layer)}</h1>
      <p>
        A module is a group of features that fire on the same tokens. How many there are is a choice of
        resolution, not a finding; beside each number stands what chance gives, where it was computed.
      </p>
      <Choices
        label="Graph"
        choices={graphs.map((graph) => ({
          text: graph,
          title: aboutGraph(graph),
          on: graph === chosen.graph,
          href: withQuery(route, { g: graph, l: chosen.layer }),
        }))}
      />
      <Choices
        label="Layer"
        choices={layers.map(([graph, layer, count]) => ({
          text: layerWords(home, layer).replace(/^layer /, ""),
          title: `${count} modules`,
          on: layer === chosen.layer,
          href: withQuery(route, { g: graph, l: layer }),
        }))}
      />
      {aboutGraph(chosen.graph) ? (
        <p class="note">
          Graph {chosen.graph}: {aboutGraph(chosen.graph)}.
        </p>
      ) : null}
      <Loaded asked={asked} what="the modules">
        {(found) => <Layer home={home} found={found} />}
      </Loaded>
      <Loaded asked={numbers} what="the numbers">
        {(rows) => (
          <Judged
            home={home}
            rows={rows.filter(
              (r) =>
                r.layer === chosen.layer && r.other_layer === null && ofGraph(home, chosen.graph, r.name),
            )}
          />
        )}
      </Loaded>
      {home.has.includes("numbers") ? null : <Judged home={home} rows={[]} />}
      <Table caption="Modules by layer" heads={BY_LAYER} rows={byLayer(home, chosen.graph, measured)} />
    </>
  );
}

function choose(home: Home, route: Route): { graph: string; layer: number } | null {
  const graph = home.modules.find(([g]) => g === route.query.g)?.[0] ?? home.modules[0]?.[0];
  if (graph === undefined) return null;
  const layers = home.modules.filter(([g]) => g === graph).map(([, layer]) => layer);
  const wanted = Number(route.query.l);
  return { graph, layer: route.query.l !== undefined && layers.includes(wanted) ? wanted : layers[0]! };
}

/** Whether a number speaks of the modules of a graph; names without a graph are of the features' own. */
function ofGraph(home: Home, graph: string, name: string): boolean {
  const named = home.modules.map(([g]) => g).find((g) => name.endsWith(`, ${g}`));
  return OF_MODULES.test(name) && (named ?? columnGraph(home)) === graph;
}

/** Numbers of this layer's modules against rewired graphs, or why there are none. */
function Judged({ home, rows }: { home: Home; rows: Measured[] }) {
  if (!rows.length) {
    return (
      <p class="note">
        Coherence against degree-preserving rewiring: {UNTESTED} in this atlas (only studies with a stage
        “modules” store it).
      </p>
    );
  }
  return (
    <Measures
      home={home}
      rows={rows}
      caption="The partition of this layer beside what rewired graphs give"
    />
  );
}

const BY_LAYER: Head[] = [
  { head: "layer", form: "text" },
  { head: "modules", form: "count" },
  { head: "share of alive features inside", form: "text" },
  {
    head: "modularity (rewired)",
    form: "text",
    text: "of graphs whose edges were dealt out anew, degrees kept",
  },
];

function byLayer(home: Home, graph: string, numbers: Measured[]): Cell[][] {
  const layers = home.modules.filter(([g]) => g === graph);
  const of = (name: string, layer: number) =>
    numbers.find(
      (n) =>
        n.layer === layer &&
        n.other_layer === null &&
        n.name === (graph === columnGraph(home) ? name : `${name}, ${graph}`),
    );
  return layers.map(([, layer, count]) => {
    const inside = of("in a module", layer),
      modularity = of("modularity", layer);
    return [
      {
        value: layer,
        node: <a href={href(["modules"], { g: graph, l: layer })}>{layerWords(home, layer)}</a>,
      },
      count,
      inside ? shown(inside, inside.value) : "not stored",
      modularity ? besideNull(modularity) : UNTESTED,
    ];
  });
}

const besideNull = (row: Measured): string =>
  `${shown(row, row.value)} (${row.null === null ? UNTESTED : shown(row, row.null)})`;

const HEADS: Head[] = [
  { head: "module", form: "text" },
  { head: "features", form: "count" },
  { head: "density", form: "number", text: "edges inside, of all pairs" },
  { head: "stability", form: "number", text: "overlap with its best match under other seeds (0-1)" },
  {
    head: "terms: features observed (expected by chance), p",
    form: "text",
    text: "hypergeometric: as many of the layer's alive features, drawn at random",
  },
];

function Layer({ home, found }: { home: Home; found: ModuleGraph }) {
  const modules = [...found.modules].sort((a, b) => (b.size ?? 0) - (a.size ?? 0) || a.module - b.module);
  const rows: Cell[][] = modules.map((m) => [
    {
      value: m.module,
      node: (
        <a href={moduleHref(m.graph, m.layer, m.module)}>
          module{"\u00a0"}
          {m.module}
        </a>
      ),
    },
    m.size ?? m.members.length,
    { value: m.density, node: m.density === null ? UNTESTED : show(m.density, "number") },
    { value: m.stability, node: m.stability === null ? UNTESTED : show(m.stability, "number") },
    { value: termsText(m), node: <Terms module={m} /> },
  ]);
  const largest = modules[0];
  const alt =
    `${modules.length} modules of ${layerWords(home, found.layer)} in graph ${found.graph}` +
    (largest
      ? `; the largest, module ${largest.module}, has ${largest.size ?? largest.members.length} features.`
      : ".");
  return (
    <>
      <Figure
        home={home}
        name={`modules-${found.graph}-${found.layer}`}
        width={WIDTH}
        height={HEIGHT}
        title={found.edges.length ? "Modules and the links between them" : "Modules"}
        alt={alt}
        note={linksNote(found)}
        data={{ heads: HEADS, rows }}
      >
        <Drawing home={home} found={found} modules={modules} width={WIDTH} />
      </Figure>
      <Table caption={`${modules.length} modules, largest first`} heads={HEADS} rows={rows} />
    </>
  );
}

/** Where nodes stand and which lines are drawn: those stronger than degree alone gives. */
function linksNote(found: ModuleGraph): string {
  if (!found.edges.length) {
    return "Links between modules are not stored in this atlas; positions mean nothing.";
  }
  const over = found.edges.filter(isOver).length;
  const tested = found.edges.some((e) => e[3] !== null);
  return (
    (tested
      ? `Drawn: the ${over} of ${found.edges.length} links that are heavier than the degrees of both ` +
        "modules give by chance. "
      : `Drawn: all ${found.edges.length} links; their null was not tested. `) +
    "Positions come from a layout and are no evidence; color and symbol: kind of the module's most telling " +
    "term."
  );
}

const isOver = (edge: ModuleGraph["edges"][number]): boolean => edge[3] === null || edge[2] > edge[3];

function Drawing({
  home,
  found,
  modules,
  width,
}: {
  home: Home;
  found: ModuleGraph;
  modules: Module[];
  width: number;
}) {
  const kinds = [...new Set(modules.map((m) => topTerm(m)?.[0] ?? "no term"))].sort();
  const at = new Map(modules.map((m, i) => [m.module, i]));
  const nodes = modules.map((m) => {
    const term = topTerm(m);
    return {
      x: m.x,
      y: m.y,
      size: m.size ?? m.members.length,
      group: kinds.indexOf(term?.[0] ?? "no term"),
      label: term ? `${m.module} ${short(term[1])}` : String(m.module),
      title: `module ${m.module}, ${m.size ?? m.members.length} features${term ? `: ${term[1]}` : ""}`,
      href: moduleHref(m.graph, m.layer, m.module),
    };
  });
  const word = (kind: string) => home.kinds.find((k) => k.name === kind)?.one ?? kind;
  const edges = found.edges
    .filter((e) => isOver(e) && e[0] !== e[1] && at.has(e[0]) && at.has(e[1]))
    .map(([a, b, weight, chance]) => ({
      a: at.get(a)!,
      b: at.get(b)!,
      weight,
      title:
        `module ${a} to ${b}: ${weight} links` +
        (chance === null ? "" : `, expected ${show(chance, "number")}`),
    }));
  return <NodeLink width={width} height={HEIGHT} nodes={nodes} edges={edges} groups={kinds.map(word)} />;
}

const short = (term: string): string => (term.length > NAME ? `${term.slice(0, NAME - 1)}…` : term);

const best = (module: Module) => [...module.terms].sort((a, b) => a[5] - b[5]).slice(0, TERMS);

const termsText = (module: Module): string =>
  best(module)
    .map(
      ([, term, inside, , expected, p]) =>
        `${term} ${inside} (${show(expected, "number")}), p ${show(p, "p")}`,
    )
    .join("; ");

function Terms({ module }: { module: Module }) {
  const terms = best(module);
  if (!terms.length) return <>{module.label ?? "no feature of it is annotated"}</>;
  return (
    <>
      {terms.map(([kind, term, inside, , expected, p], i) => (
        <span key={`${kind} ${term}`}>
          {i ? "; " : ""}
          <a href={termHref(kind, term)}>{term}</a> {inside} ({show(expected, "number")}), p{" "}
          {show(p, "p")}
        </span>
      ))}
    </>
  );
}

export const modules: PageOf = { path: "modules", nav: "Modules", title: () => "Modules", Page };
