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
import { Empty, FeatureLink, Loaded } from "../ui/parts";
import { show } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";
import { around, FEATURE, keyOf, layout, MOST, neighbors, nodeOf, within } from "./ego";
import { DocumentOf } from "./graph_document";
import { Choices, UNTESTED } from "./network";
import type { PageOf, PageProps } from "./page";

const WIDTH = 860,
  HEIGHT = 560;
const TOP = 100;

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
  const node = asked === undefined ? -1 : nodeOf(found, asked);
  const kinds = found.kinds.filter((_, k) => found.kind.includes(k));
  return (
    <>
      <p>
        Edges join a feature with the{" "}
        {kinds
          .filter((k) => k !== FEATURE)
          .map((k) => plural(home, k))
          .join(", ")}{" "}
        it goes with: {show(found.a.length, "count")} edges of {show(found.name.length, "count")} nodes. An
        edge says that both go together, not that one makes the other.
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
  return kind === "gene" ? href(["gene", name]) : href(["term", `${kind}/${name}`]);
}

const EDGE_HEADS: Head[] = [
  { head: "node", form: "text" },
  { head: "kind", form: "text" },
  { head: "weight", form: "number", text: "of the edge: what it counts is said above the table" },
  { head: "degree", form: "count" },
  { head: "PageRank", form: "number" },
  { head: "null", form: "number", text: "mean of nodes of the same degree in rewired graphs" },
  { head: "page", form: "text" },
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
  const places = useMemo(() => layout(chosen.length, edges), [chosen, edges]);
  const kind = found.kinds[found.kind[node]!]!,
    name = found.name[node]!;
  const rows: Cell[][] = near[node]!.map(([other, weight]) => nodeRow(home, route, found, other, weight));
  const nodes = chosen.map((n, i) => ({
    ...places[i]!,
    size: i ? 1 : 3,
    label: found.name[n]!,
    group: found.kind[n]!,
    href: withQuery(route, { n: keyOf(found, n), f: null }),
  }));
  const heaviest = near[node]![0];
  return (
    <>
      <h2>
        Around {name} <span class="kind">({kind})</span>
      </h2>
      <p>
        Degree {show(found.degree[node], "count")}, PageRank {show(found.pagerank[node], "number")} beside{" "}
        {found.null_pagerank[node] === null ? UNTESTED : show(found.null_pagerank[node], "number")} for
        nodes of this degree in rewired graphs.{" "}
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
        <NodeLink width={WIDTH} height={HEIGHT} nodes={nodes} edges={edges} groups={found.kinds} />
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
    ? `Weight: tokens of a ${home.words.document} on which the feature fires; of a term, 1 where q < alpha. `
    : "Weight: 1 where q < alpha. ") +
  "Null: mean PageRank of nodes of the same kind and degree after edges were dealt out anew, " +
  "all degrees kept.";

function nodeRow(
  home: Home,
  route: Route,
  found: KnowledgeGraph,
  node: number,
  weight: number | null,
): Cell[] {
  const kind = found.kinds[found.kind[node]!]!,
    name = found.name[node]!,
    chance = found.null_pagerank[node] ?? null;
  const id = kind === FEATURE ? idOf(name) : null;
  return [
    {
      value: name,
      node: <a href={withQuery(route, { n: keyOf(found, node), f: null, k: null })}>{name}</a>,
    },
    kind,
    ...(weight === null ? [] : [weight]),
    found.degree[node]!,
    found.pagerank[node] ?? null,
    { value: chance, node: chance === null ? UNTESTED : show(chance, "number") },
    ...(weight === null ? [chance ? (found.pagerank[node] ?? 0) / chance : null] : []),
    {
      value: name,
      node:
        id !== null ? (
          <FeatureLink id={id} />
        ) : kind === home.words.document ? (
          <a href={pageOf(home, found, node)}>its content</a>
        ) : (
          <a href={pageOf(home, found, node)}>{home.kinds.find((k) => k.name === kind)?.one ?? kind}</a>
        ),
    },
  ];
}

const RANK_HEADS: Head[] = [
  { head: "node", form: "text" },
  { head: "kind", form: "text" },
  { head: "degree", form: "count" },
  { head: "PageRank", form: "number" },
  { head: "null", form: "number", text: "mean of nodes of the same degree in rewired graphs" },
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
  const only = kinds.includes(route.query.k ?? "") ? found.kinds.indexOf(route.query.k!) : null;
  const nodes = found.name
    .map((_, i) => i)
    .filter((i) => (only === null || found.kind[i] === only) && found.pagerank[i] !== null)
    .sort(
      (a, b) => found.pagerank[b]! - found.pagerank[a]! || found.degree[b]! - found.degree[a]! || a - b,
    );
  return (
    <>
      <h2>PageRank</h2>
      <p class="note">
        PageRank with damping .85. Features of many edges rank high whatever they mean: the null is the mean
        PageRank of nodes of the same degree after edges were dealt out anew, all degrees kept.
      </p>
      <Choices
        label="Nodes"
        choices={[
          { text: "all", href: withQuery(route, { k: null }), on: only === null },
          ...kinds.map((k) => ({
            text: plural(home, k),
            href: withQuery(route, { k }),
            on: only === found.kinds.indexOf(k),
          })),
        ]}
      />
      <Table
        caption={`${show(nodes.length, "count")} nodes, highest PageRank first`}
        heads={RANK_HEADS}
        limit={TOP}
        rows={nodes.slice(0, TOP + 1).map((n) => nodeRow(home, route, found, n, null))}
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
