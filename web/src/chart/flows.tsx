// Flows between two columns of nodes. Width is the number of links; what is more than chance gives
// is drawn full, what is not is drawn pale and striped.
import { sankey, sankeyJustify, type SankeyLink, type SankeyNode } from "d3-sankey";
import type { VNode } from "preact";
import { number } from "../ui/show";
import { fit, round, textWidth, type Size } from "./frame";
import { ribbonPath } from "./paths";

interface Place {
  key: string;
  label: string;
  side: number;
}
interface Given {
  value: number;
  null?: number | null;
}

/** Flows between the nodes at the left and at the right. */
export function Flows({
  width,
  height,
  left,
  right,
  links,
  leftTitle,
  rightTitle,
  href,
}: Size & {
  left: { key: string; label: string }[];
  right: { key: string; label: string }[];
  links: { from: string; to: string; value: number; null?: number | null }[];
  leftTitle?: string;
  rightTitle?: string;
  href?: (side: "left" | "right", key: string) => string | undefined;
}): VNode {
  const top = leftTitle || rightTitle ? 22 : 6,
    room = Math.min(Math.max(...[...left, ...right].map((n) => textWidth(n.label)), 20) + 12, width * 0.3);
  const nodes: (Place & SankeyNode<Place, Given>)[] = [
    ...left.map((n) => ({ ...n, side: 0 })),
    ...right.map((n) => ({ ...n, side: 1 })),
  ];
  const at = new Map(nodes.map((n, i) => [`${n.side}${n.key}`, i]));
  const given: (Given & SankeyLink<Place, Given>)[] = links.flatMap((l) => {
    const source = at.get(`0${l.from}`),
      target = at.get(`1${l.to}`);
    return source === undefined || target === undefined || !(l.value > 0)
      ? []
      : [{ source, target, value: l.value, null: l.null }];
  });
  if (given.length === 0)
    return (
      <g class="flows">
        <text x={4} y={top + 14}>
          no links
        </text>
      </g>
    );
  const gap = Math.min(8, (height - top) / Math.max(left.length, right.length, 1) / 2);
  const laid = sankey<Place, Given>()
    .nodeWidth(12)
    .nodePadding(gap)
    .nodeAlign(sankeyJustify)
    .extent([
      [room, top],
      [width - room, height - 6],
    ])({ nodes, links: given });
  return (
    <g class="flows">
      {leftTitle ? (
        <text class="label" x={room + 12} y={12} text-anchor="end">
          {leftTitle}
        </text>
      ) : null}
      {rightTitle ? (
        <text class="label" x={width - room - 12} y={12}>
          {rightTitle}
        </text>
      ) : null}
      {laid.links.map((l, i) => {
        const from = l.source as SankeyNode<Place, Given> & Place,
          to = l.target as SankeyNode<Place, Given> & Place,
          beyond = l.null === null || l.null === undefined || l.value > l.null;
        return (
          <path
            key={i}
            class={beyond ? "flow" : "flow weak"}
            d={ribbonPath(from.x1 ?? 0, l.y0 ?? 0, to.x0 ?? 0, l.y1 ?? 0)}
            stroke-width={round(Math.max(l.width ?? 1, 1))}
          >
            <title>
              {`${from.label} to ${to.label}: ${number(l.value)}`}
              {typeof l.null === "number" ? `, expected by chance ${number(l.null)}` : ""}
            </title>
          </path>
        );
      })}
      {laid.nodes.map((n, i) => (
        <Node key={i} node={n} room={room} href={href?.(n.side ? "right" : "left", n.key)} />
      ))}
    </g>
  );
}

function Node({
  node,
  room,
  href,
}: {
  node: Place & SankeyNode<Place, Given>;
  room: number;
  href?: string;
}): VNode {
  const y0 = round(node.y0 ?? 0),
    y1 = round(node.y1 ?? 0),
    x0 = round(node.x0 ?? 0),
    tall = y1 - y0;
  const box = (
    <g>
      <rect class="node" x={x0} y={y0} width={12} height={Math.max(tall, 1)} />
      <title>{`${node.label}: ${number(node.value ?? 0)}`}</title>
      {tall < 4 ? null : (
        <text
          x={node.side ? x0 + 17 : x0 - 5}
          y={round((y0 + y1) / 2 + 4)}
          text-anchor={node.side ? "start" : "end"}
        >
          {fit(node.label, room - 8)}
        </text>
      )}
    </g>
  );
  return href ? (
    <a href={href} aria-label={node.label}>
      {box}
    </a>
  ) : (
    box
  );
}
