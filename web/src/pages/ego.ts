// The part of the knowledge graph around one node: chosen, and laid out in the page.
import {
  forceCenter,
  forceLink,
  forceManyBody,
  forceSimulation,
  type SimulationNodeDatum,
} from "d3-force";
import type { Home, KnowledgeGraph } from "../data/format";
import { idOf, nameOf } from "../data/names";

export const FEATURE = "feature";
/** Nodes drawn at most. */
export const MOST = 60;
/** Neighbors of the first node, and how many of its own each of them adds at least. */
const FIRST = 24,
  EACH = 3;
const TICKS = 300;

/** Neighbors of every node with the weight of the edge, heaviest first; ties by number. */
export function neighbors(graph: KnowledgeGraph): [number, number][][] {
  const found: [number, number][][] = graph.kind.map(() => []);
  for (let i = 0; i < graph.a.length; i++) {
    const a = graph.a[i]!,
      b = graph.b[i]!,
      weight = graph.weight[i]!;
    found[a]!.push([b, weight]);
    found[b]!.push([a, weight]);
  }
  for (const list of found) list.sort((x, y) => y[1] - x[1] || x[0] - y[0]);
  return found;
}

/** The node of "motif:GATA1", "L6/1234" or "feature:L6/1234"; a kind may be named by its words in the
 * filter language; -1 where there is none. */
export function nodeOf(home: Pick<Home, "kinds">, graph: KnowledgeGraph, text: string): number {
  const bare = idOf(text);
  const mark = text.indexOf(":");
  const kind = bare !== null ? FEATURE : text.slice(0, mark),
    name = bare !== null ? nameOf(bare) : text.slice(mark + 1);
  const named = home.kinds.find((k) => k.filters.includes(kind))?.name ?? kind;
  const wanted = graph.kinds.indexOf(graph.kinds.includes(kind) ? kind : named);
  return graph.name.findIndex((n, i) => n === name && graph.kind[i] === wanted);
}

export const keyOf = (graph: KnowledgeGraph, node: number): string => {
  const kind = graph.kinds[graph.kind[node]!]!,
    name = graph.name[node]!;
  return kind === FEATURE ? name : `${kind}:${name}`;
};

/** The node, its heaviest neighbors, and for each of these in turn a few of its own, until full. */
export function around(near: [number, number][][], node: number, most = MOST): number[] {
  const chosen = new Set([node]);
  const first = near[node]!.slice(0, FIRST).map(([n]) => n);
  for (const n of first) chosen.add(n);
  const each = Math.max(EACH, Math.floor((most - chosen.size) / Math.max(first.length, 1)));
  for (const n of first) {
    let added = 0;
    for (const [other] of near[n]!) {
      if (chosen.size >= most || added >= each) break;
      if (!chosen.has(other)) {
        chosen.add(other);
        added++;
      }
    }
  }
  return [...chosen];
}

/** Edges of the graph between the chosen nodes, as places in `chosen`. */
export function within(
  near: [number, number][][],
  chosen: number[],
): { a: number; b: number; weight: number }[] {
  const place = new Map(chosen.map((n, i) => [n, i]));
  return chosen.flatMap((n, a) =>
    near[n]!.flatMap(([other, weight]) => {
      const b = place.get(other);
      return b !== undefined && a < b ? [{ a, b, weight }] : [];
    }),
  );
}

interface Placed extends SimulationNodeDatum {
  index: number;
}

/** Positions (0..1) after a fixed number of steps from a fixed start, the first node in the middle. */
export function layout(
  count: number,
  edges: { a: number; b: number }[],
  aspect: number,
): { x: number; y: number }[] {
  const nodes: Placed[] = Array.from({ length: count }, (_, index) => ({ index }));
  nodes[0]!.fx = 0;
  nodes[0]!.fy = 0;
  let state = 1;
  const random = () => (state = (state * 16807) % 2147483647) / 2147483647;
  forceSimulation(nodes)
    .randomSource(random)
    .force(
      "links",
      forceLink<Placed, { source: number; target: number }>(
        edges.map(({ a, b }) => ({ source: a, target: b })),
      ).distance(40),
    )
    .force("charge", forceManyBody().strength(-90))
    .force("center", forceCenter(0, 0).strength(0.05))
    .stop()
    .tick(TICKS);
  const xs = nodes.map((n) => n.x!),
    ys = nodes.map((n) => n.y!);
  // one scale for both axes, so that lengths compare; the drawing is `aspect` times as wide as high
  const size = Math.max((extent(xs)[1] - extent(xs)[0]) / aspect, extent(ys)[1] - extent(ys)[0]) || 1;
  const middle = (values: number[]) => (extent(values)[0] + extent(values)[1]) / 2;
  const x0 = middle(xs),
    y0 = middle(ys);
  return nodes.map((n) => ({ x: 0.5 + (n.x! - x0) / size / aspect, y: 0.5 + (n.y! - y0) / size }));
}

const extent = (values: number[]): [number, number] => [Math.min(...values), Math.max(...values)];
