// What tests ask of the graph pages: binomial intervals, the nodes around one, their places, and
// the spans of a document.
import type { KnowledgeGraph } from "../src/data/format";
import { around, keyOf, layout, neighbors, nodeOf, within } from "../src/pages/ego";
import { marked } from "../src/pages/graph_document";
import { wilson } from "../src/pages/network";

export interface Asked {
  counts: [number, number][];
  graph: KnowledgeGraph;
  kinds: { name: string; filters: string[] }[];
  nodes: string[];
  spans: [string, string | null][];
}

export function answer(asked: Asked) {
  const near = neighbors(asked.graph);
  const home = { kinds: asked.kinds } as unknown as Parameters<typeof nodeOf>[0];
  return {
    intervals: asked.counts.map(([k, n]) => wilson(k, n)),
    nodes: asked.nodes.map((text) => {
      const node = nodeOf(home, asked.graph, text);
      if (node < 0) return null;
      const chosen = around(near, node);
      const edges = within(near, chosen);
      return { key: keyOf(asked.graph, node), chosen, edges, places: layout(chosen.length, edges, 1.5) };
    }),
    spans: asked.spans.map(([text, spans]) =>
      marked(text, spans).map((part) => (typeof part === "string" ? part : [part.props.children]))),
  };
}
