// The part of the knowledge graph around one node: chosen, and laid out in the page.
import type { Home, KnowledgeGraph } from "../data/format";
import { idOf, nameOf } from "../data/names";

export const FEATURE = "feature";
/** Nodes drawn at most. */
export const MOST = 60;
/** Neighbors of the first node, and how many of its own each of them adds at least. */
const FIRST = 24,
  EACH = 3;
const TICKS = 300;
/** Forces of the layout: the length of an edge, how strongly nodes repel each other and are drawn to
 * the middle, and what is left of a speed after a step. */
const LENGTH = 40,
  REPULSION = -90,
  CENTERING = 0.05,
  KEPT = 0.6;

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

/** Positions (0..1) after a fixed number of steps from a fixed start, the first node in the middle. The
 * forces and the cooling are those of d3-force; so few nodes need no tree of far ones, which is most
 * of its bytes. */
export function layout(
  count: number,
  edges: { a: number; b: number }[],
  aspect: number,
): { x: number; y: number }[] {
  const nodes = Array.from({ length: count }, (_, i) => {
    const radius = 10 * Math.sqrt(0.5 + i),
      angle = i * Math.PI * (3 - Math.sqrt(5));
    return { x: radius * Math.cos(angle), y: radius * Math.sin(angle), vx: 0, vy: 0, degree: 0 };
  });
  Object.assign(nodes[0]!, { x: 0, y: 0 });
  const links = edges.map(({ a, b }) => [nodes[a]!, nodes[b]!] as const);
  for (const link of links) for (const node of link) node.degree++;
  for (let tick = 1; tick <= TICKS; tick++) {
    const heat = 0.001 ** (tick / 300);
    for (const [a, b] of links) {
      const x = b.x + b.vx - a.x - a.vx || 1e-6,
        y = b.y + b.vy - a.y - a.vy || 1e-6;
      const far = Math.hypot(x, y),
        pull = (((far - LENGTH) / far) * heat) / Math.min(a.degree, b.degree);
      const share = a.degree / (a.degree + b.degree);
      b.vx -= x * pull * share;
      b.vy -= y * pull * share;
      a.vx += x * pull * (1 - share);
      a.vy += y * pull * (1 - share);
    }
    for (const a of nodes)
      for (const b of nodes) {
        if (a === b) continue;
        const x = b.x - a.x || 1e-6,
          y = b.y - a.y || 1e-6,
          square = x * x + y * y;
        const push = (REPULSION * heat) / (square < 1 ? Math.sqrt(square) : square);
        a.vx += x * push;
        a.vy += y * push;
      }
    const mean = (axis: "x" | "y") => (nodes.reduce((sum, n) => sum + n[axis], 0) / count) * CENTERING;
    const [x, y] = [mean("x"), mean("y")];
    nodes.forEach((n, i) => {
      if (i === 0) n.x = n.y = n.vx = n.vy = 0;
      else {
        n.x += (n.vx *= KEPT) - x;
        n.y += (n.vy *= KEPT) - y;
      }
    });
  }
  const xs = nodes.map((n) => n.x),
    ys = nodes.map((n) => n.y);
  // one scale for both axes, so that lengths compare; the drawing is `aspect` times as wide as high
  const size = Math.max((extent(xs)[1] - extent(xs)[0]) / aspect, extent(ys)[1] - extent(ys)[0]) || 1;
  const middle = (values: number[]) => (extent(values)[0] + extent(values)[1]) / 2;
  const x0 = middle(xs),
    y0 = middle(ys);
  return nodes.map((n) => ({ x: 0.5 + (n.x - x0) / size / aspect, y: 0.5 + (n.y - y0) / size }));
}

const extent = (values: number[]): [number, number] => [Math.min(...values), Math.max(...values)];
