// The knowledge graph: features, the terms they are enriched for and the documents they fire in;
// around one node, or the nodes of highest PageRank beside what their degree alone gives.
import { useMemo } from "preact/hooks";
import { NodeLink } from "../chart/charts";
import { Figure } from "../chart/figure";
import { json } from "../data/chunk";
import type { Home, KnowledgeGraph } from "../data/format";
import { idOf, nameOf } from "../data/names";
import { useAsked } from "../data/use";
import { href, withQuery, type Route } from "../route";
import { Choices } from "../ui/choices";
import { Empty, FeatureLink, Loaded } from "../ui/parts";
import { bound, interval, show } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";
import { around, FEATURE, keyOf, layout, MOST, neighbors, nodeOf, within } from "./ego";
import { DocumentOf } from "./graph_document";
import { termHref, UNTESTED } from "./network";
import type { PageOf, PageProps } from "./page";

const WIDTH = 860,
  HEIGHT = 560;
const TOP = 100;
/** Letters of a name in the drawing. */
const NAME = 28;

function Page({ home, route }: PageProps) {
  const known = home.has.includes("kg");
  const asked = useAsked(known ? "graph/kg" : null, () => json<KnowledgeGraph>("graph/kg"));
  if (!known)
    return (
      <>
        <h1>Knowledge graph</h1>
        <Empty why={home.empty["graph"] ?? ""} />
      </>
    );
  return (
    <>
      <h1>Knowledge graph</h1>
      <Loaded asked={asked} what="the graph">
        {(found) => <Graph home={home} route={route} found={found} />}
      </Loaded>
    </>
  );
}

function Graph({ home, route, found }: { home: Home; route: Route; found: KnowledgeGraph }) {
  const near = useMemo(() => neighbors(found), [found]);
  const asked = route.query.n;
  const node = asked === undefined ? -1 : nodeOf(home, found, asked);
  const kinds = found.kinds.filter((_, k) => found.kind.includes(k));
  const features = found.kind.filter((k) => found.kinds[k] === FEATURE).length;
  const given =
    found.features !== undefined && found.features > features
      ? `, with those ${show(features, "count")} of ${show(found.features, "count")} features that have most`
      : "";
  return (
    <>
      <p>
        Edges join a feature with the{" "}
        {kinds
          .filter((k) => k !== FEATURE)
          .map((k) => plural(home, k))
          .join(", ")}{" "}
        it goes with: {show(found.a.length, "count")} edges of {show(found.name.length, "count")} nodes
        {given}. An edge says that both go together, not that one makes the other.
      </p>
      {asked !== undefined && node < 0 ? (
        <Empty
          why={
            `No node ${asked} in the graph; a node is written as KIND:NAME ` +
            `(${kinds.join(", ")}) or as a feature, L6/1234.`
          }
        />
      ) : null}
      {node >= 0 ? <Ego home={home} route={route} found={found} near={near} node={node} /> : null}
      {node >= 0 ? (
        <p>
          <a href={href(["graph"])}>The nodes of highest PageRank</a>
        </p>
      ) : (
        <Ranks home={home} route={route} found={found} kinds={kinds} />
      )}
    </>
  );
}

/** The word for one node of a kind. */
const one = (home: Home, kind: string): string => home.kinds.find((k) => k.name === kind)?.one ?? kind;

function plural(home: Home, kind: string): string {
  if (kind === home.words.document) return `${kind}s`;
  return home.kinds.find((k) => k.name === kind)?.many ?? `${kind}s`;
}

/** The page of a node; a document has none but its place in the graph. */
function pageOf(home: Home, found: KnowledgeGraph, node: number): string {
  const kind = found.kinds[found.kind[node]!]!,
    name = found.name[node]!;
  if (kind === FEATURE) return href(["feature", name]);
  if (kind === home.words.document) return href(["graph"], { n: keyOf(found, node) });
  return kind === "gene" ? href(["gene", name]) : termHref(kind, name);
}

const NULL: Head[] = [
  { head: "PageRank", form: "number", text: "damping .85; every edge counts once" },
  { head: "null", form: "number", text: "mean over rewired graphs, in which its degree is the same" },
  { head: "middle 95 % of null", form: "text" },
];
const EDGE_HEADS: Head[] = [
  { head: "node", form: "text" },
  { head: "kind", form: "text" },
  { head: "weight", form: "count", text: "of the edge" },
  { head: "degree", form: "count" },
  ...NULL,
  { head: "page", form: "text" },
];

/** PageRank of a node beside what rewired graphs give it. */
function rank(
  found: KnowledgeGraph,
  node: number,
): { value: number | null; chance: number | null; range: string } {
  const low = found.null_low?.[node] ?? null,
    high = found.null_high?.[node] ?? null;
  return {
    value: found.pagerank[node] ?? null,
    chance: found.null_pagerank[node] ?? null,
    range: low === null || high === null ? UNTESTED : interval(low, high),
  };
}

const short = (name: string): string => (name.length > NAME ? `${name.slice(0, NAME - 1)}…` : name);

const rankCells = ({ value, chance, range }: ReturnType<typeof rank>): Cell[] => [
  value,
  { value: chance, node: chance === null ? UNTESTED : show(chance, "number") },
  range,
];

function Ego({
  home,
  route,
  found,
  near,
  node,
}: {
  home: Home;
  route: Route;
  found: KnowledgeGraph;
  near: [number, number][][];
  node: number;
}) {
  const chosen = useMemo(() => around(near, node), [near, node]);
  const edges = useMemo(() => within(near, chosen), [near, chosen]);
  const places = useMemo(() => layout(chosen.length, edges, WIDTH / HEIGHT), [chosen, edges]);
  const kind = found.kinds[found.kind[node]!]!,
    name = found.name[node]!;
  const rows: Cell[][] = near[node]!.map(([other, weight]) =>
    neighborRow(home, route, found, other, weight),
  );
  const nodes = chosen.map((n, i) => ({
    ...places[i]!,
    size: i ? 1 : 3,
    label: short(found.name[n]!),
    title: `${found.kinds[found.kind[n]!]} ${found.name[n]}`,
    group: found.kind[n]!,
    href: withQuery(route, { n: keyOf(found, n), f: null }),
  }));
  const heaviest = near[node]![0],
    own = rank(found, node);
  return (
    <>
      <h2>
        Around {name} <span class="kind">({one(home, kind)})</span>
      </h2>
      <p>
        Degree {show(found.degree[node], "count")}, PageRank {show(own.value, "number")} beside{" "}
        {own.chance === null ? UNTESTED : show(own.chance, "number")} {own.range} in rewired graphs, in
        which its degree is the same.{" "}
        <a href={pageOf(home, found, node)}>
          {kind === home.words.document ? "This node" : `The page of ${name}`}
        </a>
      </p>
      <Figure
        home={home}
        name={`graph-${kind}-${name.replace(/\W+/g, "-")}`}
        width={WIDTH}
        height={HEIGHT}
        title={`${chosen.length} nodes around ${name}`}
        alt={
          `${name} is joined to ${show(near[node]!.length, "count")} nodes` +
          (heaviest ? `, most heavily to ${found.name[heaviest[0]]!}.` : ".")
        }
        note={
          `At most ${MOST} nodes: the heaviest neighbors, then a few of theirs. ` +
          "Positions come from a force layout " +
          "with a fixed start and are no evidence."
        }
        data={{ heads: EDGE_HEADS, rows }}
      >
        <NodeLink
          width={WIDTH}
          height={HEIGHT}
          nodes={nodes}
          edges={edges}
          groups={found.kinds.map((k) => one(home, k))}
        />
      </Figure>
      <p class="note">{weightNote(home, found)}</p>
      <Table caption={`Neighbors of ${name}, heaviest first`} heads={EDGE_HEADS} rows={rows} />
      {kind === home.words.document && home.has.includes("documents") ? (
        <DocumentOf home={home} route={route} name={name} chosen={idOf(route.query.f ?? "")} />
      ) : null}
    </>
  );
}

const weightNote = (home: Home, found: KnowledgeGraph): string =>
  (found.kinds.includes(home.words.document)
    ? `Weight: tokens of a ${home.words.document} on which the feature fires; `
    : "Weight: ") +
  `1 of a term for which it is enriched (q < ${bound(home.thresholds.alpha)}) and of the ` +
  "first genes of its list. " +
  "Null: mean PageRank (and middle 95 %) over graphs whose edges were dealt out anew within each kind, " +
  "all degrees kept.";

function nodeCell(route: Route, found: KnowledgeGraph, node: number): Cell {
  const name = found.name[node]!;
  return {
    value: name,
    node: <a href={withQuery(route, { n: keyOf(found, node), f: null, k: null, o: null })}>{name}</a>,
  };
}

function pageCell(home: Home, found: KnowledgeGraph, node: number): Cell {
  const kind = found.kinds[found.kind[node]!]!,
    name = found.name[node]!;
  const id = kind === FEATURE ? idOf(name) : null;
  if (id !== null) return { value: name, node: <FeatureLink id={id} /> };
  const word = kind === home.words.document ? "its content" : one(home, kind);
  return { value: name, node: <a href={pageOf(home, found, node)}>{word}</a> };
}

function neighborRow(
  home: Home,
  route: Route,
  found: KnowledgeGraph,
  node: number,
  weight: number,
): Cell[] {
  return [
    nodeCell(route, found, node),
    one(home, found.kinds[found.kind[node]!]!),
    weight,
    found.degree[node]!,
    ...rankCells(rank(found, node)),
    pageCell(home, found, node),
  ];
}

const RANK_HEADS: Head[] = [
  { head: "node", form: "text" },
  { head: "degree", form: "count" },
  ...NULL,
  { head: "over null", form: "number" },
  { head: "page", form: "text" },
];

function Ranks({
  home,
  route,
  found,
  kinds,
}: {
  home: Home;
  route: Route;
  found: KnowledgeGraph;
  kinds: string[];
}) {
  const only = kinds.includes(route.query.k ?? "") ? route.query.k! : FEATURE;
  const over = route.query.o === "over";
  const excess = (n: number) =>
    found.null_pagerank[n] ? found.pagerank[n]! / found.null_pagerank[n]! : 0;
  const score = over ? excess : (n: number) => found.pagerank[n]!;
  const nodes = found.name
    .map((_, i) => i)
    .filter((i) => found.kind[i] === found.kinds.indexOf(only) && found.pagerank[i] !== null)
    .sort((a, b) => score(b) - score(a) || found.degree[b]! - found.degree[a]! || a - b);
  return (
    <>
      <h2>PageRank</h2>
      <p class="note">
        Edges lead from documents, terms and genes to features, damping .85: all sources have one
        PageRank, and that of a feature is high where few others share its sources, or where it has many.
        The null keeps every degree: the mean (and middle 95 %) over graphs whose edges were dealt out
        anew within each kind.
      </p>
      <Choices
        label="Nodes"
        choices={kinds.map((k) => ({
          text: plural(home, k),
          href: withQuery(route, { k: k === FEATURE ? null : k }),
          on: only === k,
        }))}
      />
      <Choices
        label="Order"
        choices={[
          { text: "PageRank", href: withQuery(route, { o: null }), on: !over },
          { text: "PageRank over null", href: withQuery(route, { o: "over" }), on: over },
        ]}
      />
      <Table
        caption={
          `${show(nodes.length, "count")} ${plural(home, only)}, ` +
          `highest ${over ? "PageRank over null" : "PageRank"} first`
        }
        heads={RANK_HEADS}
        limit={TOP}
        rows={nodes.map((n) => {
          const own = rank(found, n);
          return [
            nodeCell(route, found, n),
            found.degree[n]!,
            ...rankCells(own),
            own.value !== null && own.chance ? own.value / own.chance : null,
            pageCell(home, found, n),
          ];
        })}
      />
    </>
  );
}

export const graph: PageOf = {
  path: "graph",
  nav: "Graph",
  Page,
  title: (route) =>
    route.query.n
      ? `Around ${idOf(route.query.n) !== null ? nameOf(idOf(route.query.n)!) : route.query.n}`
      : "Knowledge graph",
};
