// Points with a symbol and a color for each group.
import type { VNode } from "preact";
import {
  category,
  glyph,
  place,
  roomFor,
  round,
  scaleOf,
  thinned,
  ticksOf,
  XAxis,
  YAxis,
  type Axes,
  type Size,
} from "./frame";
import { GroupKey, groupLines } from "./key";

/** Points with a symbol per group; few enough for SVG (under 2,000). */
export function Dots({
  width,
  height,
  points,
  groups,
  diagonal = false,
  ...axes
}: Size &
  Axes & {
    points: { x: number; y: number; group: number; label: string; href?: string }[];
    groups: string[];
    /** A dashed line where both values are equal. */
    diagonal?: boolean;
  }): VNode {
  const top = 20 + groupLines(groups, width).height,
    bottom = height - 40,
    right = width - 14;
  const y = scaleOf([...points.map((p) => p.y), axes.baseline], [bottom, top + 4], {
    log: axes.yLog,
    domain: axes.yDomain,
  });
  const yTicks = ticksOf(y, Math.max(Math.floor((bottom - top) / 42), 2), axes.yLog);
  const left = roomFor(yTicks);
  const x = scaleOf(
    points.map((p) => p.x),
    [left, right],
    { log: axes.xLog, domain: axes.xDomain },
  );
  const xTicks = thinned(
    axes.xTicks ?? ticksOf(x, Math.max(Math.floor((right - left) / 60), 2), axes.xLog),
    x,
  );
  const from = Math.max(x.domain()[0]!, y.domain()[0]!),
    to = Math.min(x.domain()[1]!, y.domain()[1]!);
  return (
    <g class="dots">
      <g transform={`translate(0,${18})`}>
        <GroupKey groups={groups} width={width} />
      </g>
      <YAxis scale={y} ticks={yTicks} left={left} right={right} label={axes.yLabel} />
      <XAxis scale={x} ticks={xTicks} y={bottom} label={axes.xLabel} />
      {axes.baseline === undefined ? null : (
        <path class="baseline" d={`M${left},${round(y(axes.baseline))}H${right}`} />
      )}
      {diagonal && to > from ? (
        <path class="baseline" d={`M${round(x(from))},${round(y(from))}L${round(x(to))},${round(y(to))}`} />
      ) : null}
      {points.map((p, i) => {
        const across = place(x, p.x, axes.xLog),
          up = place(y, p.y, axes.yLog);
        if (across === null || up === null) return null;
        const mark = (
          <path
            class={`mark ${category(p.group)}`}
            transform={`translate(${round(across)},${round(up)})`}
            d={glyph(p.group, 30)}
          >
            <title>{p.label}</title>
          </path>
        );
        return p.href ? (
          <a key={i} href={p.href} aria-label={p.label}>
            {mark}
          </a>
        ) : (
          <g key={i}>{mark}</g>
        );
      })}
    </g>
  );
}
