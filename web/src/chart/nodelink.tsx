// Nodes at stored positions with the edges between them. Names are written where they touch no other
// name and no other node, the largest nodes first; all names are in the table of the figure.
import type { VNode } from "preact";
import { category, glyph, round, textWidth, FONT, type Size } from "./frame";
import { GroupKey, groupLines } from "./key";

interface Box {
  x: number;
  y: number;
  w: number;
  h: number;
}
const apart = (a: Box, b: Box) => a.x + a.w < b.x || b.x + b.w < a.x || a.y + a.h < b.y || b.y + b.h < a.y;

/** Nodes at given positions (0..1) with edges; the area of a node is proportional to its size. */
export function NodeLink({
  width,
  height,
  nodes,
  edges,
  groups,
}: Size & {
  nodes: {
    x: number;
    y: number;
    size: number;
    label: string;
    group: number;
    href?: string;
    title?: string;
  }[];
  edges: { a: number; b: number; weight: number; title?: string }[];
  groups: string[];
}): VNode {
  const key = groupLines(groups, width),
    top = key.height + 14,
    edge = 26;
  const largest = Math.max(...nodes.map((n) => n.size), 1e-12),
    heaviest = Math.max(...edges.map((e) => Math.abs(e.weight)), 1e-12);
  const area = Math.min(Math.max((width * (height - top)) / Math.max(nodes.length, 1) / 14, 24), 420);
  const at = nodes.map((n) => ({
    x: edge + n.x * (width - 2 * edge),
    y: top + edge / 2 + n.y * (height - top - edge),
    area: Math.max((area * Math.max(n.size, 0)) / largest, 20),
  }));
  const labels = named(
    nodes.map((n) => n.label),
    at,
    width,
    height,
    top,
  );
  return (
    <g class="nodelink">
      <GroupKey groups={groups} width={width} />
      {edges.map((e, i) => {
        const a = at[e.a],
          b = at[e.b];
        return a && b ? (
          <path
            key={i}
            class={e.weight < 0 ? "edge negative" : "edge"}
            stroke-width={round(0.6 + (2.4 * Math.abs(e.weight)) / heaviest)}
            d={`M${round(a.x)},${round(a.y)}L${round(b.x)},${round(b.y)}`}
          >
            {e.title ? <title>{e.title}</title> : null}
          </path>
        ) : null;
      })}
      {nodes.map((n, i) => {
        const mark = (
          <path
            class={`mark ${category(n.group)}`}
            transform={`translate(${round(at[i]!.x)},${round(at[i]!.y)})`}
            d={glyph(n.group, at[i]!.area)}
          >
            <title>{n.title ?? n.label}</title>
          </path>
        );
        return n.href ? (
          <a key={i} href={n.href} aria-label={n.title ?? n.label}>
            {mark}
          </a>
        ) : (
          <g key={i}>{mark}</g>
        );
      })}
      {labels.map((box, i) =>
        box ? (
          <text key={i} class="halo" x={round(box.x)} y={round(box.y + FONT - 2)}>
            {nodes[i]!.label}
          </text>
        ) : null,
      )}
    </g>
  );
}

/** Where each name may stand, or null where it would touch something. */
function named(
  labels: string[],
  at: { x: number; y: number; area: number }[],
  width: number,
  height: number,
  top: number,
): (Box | null)[] {
  const taken: Box[] = at.map((n) => {
    const r = Math.sqrt(n.area / Math.PI);
    return { x: n.x - r, y: n.y - r, w: 2 * r, h: 2 * r };
  });
  const out: (Box | null)[] = labels.map(() => null);
  const order = at.map((_, i) => i).sort((a, b) => at[b]!.area - at[a]!.area || a - b);
  for (const i of order) {
    const n = at[i]!,
      r = Math.sqrt(n.area / Math.PI) + 3,
      w = textWidth(labels[i]!),
      h = FONT + 2;
    const wanted: Box[] = [
      { x: n.x + r, y: n.y - h / 2, w, h },
      { x: n.x - r - w, y: n.y - h / 2, w, h },
      { x: n.x - w / 2, y: n.y - r - h, w, h },
      { x: n.x - w / 2, y: n.y + r, w, h },
    ];
    const free = wanted.find(
      (b) =>
        b.x >= 0 &&
        b.x + w <= width &&
        b.y >= top - 8 &&
        b.y + h <= height &&
        taken.every((t) => apart(b, t)),
    );
    if (free && labels[i]) {
      out[i] = free;
      taken.push(free);
    }
  }
  return out;
}
