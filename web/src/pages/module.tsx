// One module: its features, its terms beside what chance gives, and the modules it is linked with.
import { Bars } from "../chart/charts";
import { Figure } from "../chart/figure";
import { json } from "../data/chunk";
import type { Home, Module, ModuleGraph } from "../data/format";
import { layerWords, nameOf } from "../data/names";
import { useAsked } from "../data/use";
import { href, type Route } from "../route";
import { Empty, FeatureLink, Loaded } from "../ui/parts";
import { show } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";
import { aboutGraph, columnGraph, moduleHref, termHref, UNTESTED } from "./network";
import type { PageOf, PageProps } from "./page";

const BARS = 16;

interface Asked {
  graph: string;
  layer: number;
  module: number;
}

/** "pmi/2/14" of the address. */
function parts(route: Route): Asked | null {
  const match = /^(.+)\/(\d+)\/(\d+)$/.exec(route.path[1] ?? "");
  return match && { graph: match[1]!, layer: Number(match[2]), module: Number(match[3]) };
}

function Page({ home, route }: PageProps) {
  const wanted = parts(route);
  const known = wanted && home.modules.some(([g, l]) => g === wanted.graph && l === wanted.layer);
  const name = known ? `graph/modules-${wanted.graph}-${wanted.layer}` : null;
  const asked = useAsked(name, () => json<ModuleGraph>(name!));
  if (!wanted || !name) {
    const why = home.modules.length
      ? `There is no module ${route.path[1] ?? ""}; an address is GRAPH/LAYER/MODULE.`
      : (home.empty["modules"] ?? "");
    return (
      <>
        <h1>Module</h1>
        <Empty why={why} />
      </>
    );
  }
  return (
    <Loaded asked={asked} what="the module">
      {(found) => {
        const at = found.modules.findIndex((m) => m.module === wanted.module);
        if (at < 0)
          return (
            <Empty why={`There is no module ${wanted.module} in graph ${wanted.graph} of this layer.`} />
          );
        return <One home={home} found={found} at={at} />;
      }}
    </Loaded>
  );
}

function One({ home, found, at }: { home: Home; found: ModuleGraph; at: number }) {
  const module = found.modules[at]!;
  const before = found.modules[at - 1],
    after = found.modules[at + 1];
  const size = module.size ?? module.members.length;
  return (
    <>
      <h1>
        Module {module.module} of {layerWords(home, module.layer)}
      </h1>
      <nav class="choices" aria-label="Modules of this layer">
        {before ? (
          <a rel="prev" href={moduleHref(found.graph, found.layer, before.module)}>
            previous
          </a>
        ) : null}
        <a href={href(["modules"], { g: found.graph, l: found.layer })}>
          all modules of {layerWords(home, found.layer)}
        </a>
        {after ? (
          <a rel="next" href={moduleHref(found.graph, found.layer, after.module)}>
            next
          </a>
        ) : null}
        {columnGraph(home) === found.graph ? (
          <a href={href(["features"], { f: `layer:${module.layer} module:${module.module}` })}>
            its features in the browser
          </a>
        ) : null}
      </nav>
      <dl class="facts">
        <dt>graph</dt>
        <dd>
          {found.graph}
          {aboutGraph(found.graph) ? `: ${aboutGraph(found.graph)}` : ""}
        </dd>
        <dt>features</dt>
        <dd>{show(size, "count")}</dd>
        <dt>density inside</dt>
        <dd>{module.density === null ? UNTESTED : `${show(module.density, "number")} of all pairs`}</dd>
        <dt>stability</dt>
        <dd>
          {module.stability === null
            ? UNTESTED
            : `${show(module.stability, "number")} overlap with its best match under other seeds`}
        </dd>
        {module.label ? (
          <>
            <dt>labels of its features</dt>
            <dd>{module.label}</dd>
          </>
        ) : null}
      </dl>
      <Terms home={home} module={module} size={size} />
      <Neighbors found={found} module={module} />
      <Members module={module} />
    </>
  );
}

const TERM_HEADS: Head[] = [
  { head: "kind", form: "text" },
  { head: "term", form: "text" },
  { head: "features in the module", form: "count" },
  {
    head: "expected by chance",
    form: "number",
    text: "features of the module times the share of the layer's alive features that have the term",
  },
  { head: "features in the layer", form: "count" },
  { head: "p", form: "p", text: "hypergeometric, of each term alone" },
];

function Terms({ home, module, size }: { home: Home; module: Module; size: number }) {
  if (!module.terms.length) {
    return (
      <>
        <h2>Terms</h2>
        <Empty why="No feature of this module is enriched for any term." />
      </>
    );
  }
  const terms = [...module.terms].sort((a, b) => a[5] - b[5] || b[2] - a[2]);
  const words = new Map(home.kinds.map((kind) => [kind.name, kind.one]));
  const rows: Cell[][] = terms.map(([kind, term, inside, layer, expected, p]) => [
    words.get(kind) ?? kind,
    { value: term, node: <a href={termHref(kind, term)}>{term}</a> },
    inside,
    expected,
    layer,
    p,
  ]);
  const bars = terms.slice(0, BARS).map(([kind, term, inside, , expected]) => ({
    label: term,
    value: inside,
    null: expected,
    href: termHref(kind, term),
  }));
  const first = terms[0]!,
    height = 40 + 22 * bars.length;
  return (
    <>
      <h2>Terms</h2>
      <Figure
        home={home}
        name={`module-${module.graph}-${module.layer}-${module.module}-terms`}
        width={720}
        height={height}
        title="Terms of its features beside what chance gives"
        data={{ heads: TERM_HEADS, rows }}
        alt={
          `Most telling: ${first[1]}, ${first[2]} of ${size} features, ` +
          `${show(first[4], "number")} expected.`
        }
        note={
          "Null: as many of the layer's alive features, drawn at random. p is hypergeometric and of one " +
          "term alone; " +
          "features of a module are alike, so that it is too small where they share their tokens."
        }
      >
        <Bars width={720} height={height} rows={bars} xLabel="features of the module" form="number" />
      </Figure>
      <Table caption="Terms observed and expected" heads={TERM_HEADS} rows={rows} />
    </>
  );
}

const LINK_HEADS: Head[] = [
  { head: "module", form: "text" },
  { head: "weight", form: "number", text: "links between the two modules" },
  { head: "null", form: "number", text: "what the degrees of both modules give" },
  { head: "over null", form: "number" },
  { head: "terms", form: "text" },
];

function Neighbors({ found, module }: { found: ModuleGraph; module: Module }) {
  const labels = new Map(found.modules.map((m) => [m.module, m.label]));
  const linked = found.edges
    .filter(([a, b]) => a !== b && (a === module.module || b === module.module))
    .sort((x, y) => y[2] - x[2]);
  if (!linked.length) {
    return (
      <>
        <h2>Linked modules</h2>
        <Empty
          why={
            found.edges.length
              ? "No link joins it to another module."
              : "This atlas stores no links between modules."
          }
        />
      </>
    );
  }
  const rows: Cell[][] = linked.map(([a, b, weight, chance]) => {
    const other = a === module.module ? b : a;
    return [
      {
        value: other,
        node: (
          <a href={moduleHref(found.graph, found.layer, other)}>
            module{"\u00a0"}
            {other}
          </a>
        ),
      },
      weight,
      { value: chance, node: chance === null ? UNTESTED : show(chance, "number") },
      chance ? weight / chance : null,
      labels.get(other) ?? null,
    ];
  });
  return (
    <>
      <h2>Linked modules</h2>
      <Table
        caption="Links with other modules of the layer, heaviest first"
        heads={LINK_HEADS}
        rows={rows}
      />
    </>
  );
}

const MEMBER_HEADS: Head[] = [
  { head: "feature", form: "id" },
  { head: "fires on", form: "share", text: "share of tokens" },
  { head: "label", form: "text" },
];

function Members({ module }: { module: Module }) {
  const order = module.members
    .map((_, i) => i)
    .sort((a, b) => Number(!module.labels?.[a]) - Number(!module.labels?.[b]) || a - b);
  const rows: Cell[][] = order
    .map((i) => [i, module.members[i]!] as const)
    .map(([i, id]) => [
      { value: nameOf(id), node: <FeatureLink id={id} /> },
      module.densities?.[i] ?? null,
      module.labels?.[i] ?? null,
    ]);
  return (
    <>
      <h2>Features</h2>
      <Table
        caption={`${show(module.members.length, "count")} features`}
        heads={MEMBER_HEADS}
        rows={rows}
        limit={500}
      />
    </>
  );
}

export const module: PageOf = {
  path: "module",
  nav: null,
  Page,
  title: (route, home) => {
    const wanted = parts(route);
    return wanted ? `Module ${wanted.module} of ${layerWords(home, wanted.layer)}` : "Module";
  },
};
