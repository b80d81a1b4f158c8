// Lines with the bands of their intervals. A null is dashed and grey; every line is named at its
// end, or in a key above where the names would take the room of the plot.
import type { VNode } from "preact";
import {
  category,
  fit,
  glyph,
  keyLines,
  place,
  roomFor,
  round,
  scaleOf,
  spoken,
  spread,
  textWidth,
  tick,
  ticksOf,
  XAxis,
  YAxis,
  type Axes,
  type Scale,
  type Size,
} from "./frame";
import { areaPath, linePath } from "./paths";

export interface Point {
  x: number;
  y: number | null;
  lo?: number | null;
  hi?: number | null;
}
export interface Series {
  name: string;
  points: Point[];
  /** A null is dashed and grey; values take the colors of categories in turn. */
  role: "value" | "null";
}
interface Drawn extends Series {
  tone: string;
  symbol: number;
  dash: string;
}
/** More points than this are drawn without symbols. */
const MARKED = 60;
const GAP = 14;
/** Between the end of a line and its name. */
const KEY = 12;

/** Lines with bands of their intervals; direct labels at the ends, never overlapping. */
export function Lines({ width, height, series, ...axes }: Size & Axes & { series: Series[] }): VNode {
  let values = 0,
    nulls = 0;
  const drawn: Drawn[] = series.map((s) =>
    s.role === "null"
      ? { ...s, tone: `null n${nulls}`, symbol: -1, dash: ["5 4", "2 3", "8 3 2 3"][nulls++ % 3]! }
      : { ...s, tone: category(values), symbol: values++, dash: "" },
  );
  const longest = Math.max(...drawn.map((s) => textWidth(s.name)), 0) + 26 + KEY;
  const beside = longest <= width * 0.36;
  const key = keyLines(
    drawn.map((s) => s.name),
    width - 8,
  );
  const top = 22 + (beside ? 0 : GAP * 1.2 * ((key.at(-1)?.line ?? -1) + 1));
  const bottom = height - 40;
  const xs = drawn.flatMap((s) => s.points.map((p) => p.x));
  const ys = drawn.flatMap((s) => s.points.flatMap((p) => [p.y, p.lo, p.hi]));
  const y = scaleOf([...ys, axes.baseline], [bottom, top + 6], { log: axes.yLog, domain: axes.yDomain });
  const yTicks = ticksOf(y, Math.max(Math.floor((bottom - top) / 42), 2), axes.yLog);
  const left = roomFor(yTicks),
    right = width - (beside ? longest : 14);
  const x = scaleOf(xs, [left, right], {
    log: axes.xLog,
    domain: axes.xDomain ?? aroundWhole(xs),
    nice: false,
  });
  const xTicks = axes.xTicks ?? ticksX(x, xs, right - left, axes.xLog);
  const ends = drawn.map((s) => end(s, x, y, axes));
  const places = spread(
    ends.map((e) => e?.[1] ?? bottom),
    GAP,
    top + 4,
    bottom - 2,
  );
  return (
    <g class="lines">
      <YAxis scale={y} ticks={yTicks} left={left} right={right} label={axes.yLabel} />
      <XAxis scale={x} ticks={xTicks} y={bottom} label={axes.xLabel} />
      {axes.baseline === undefined ? null : (
        <path class="baseline" d={`M${left},${round(y(axes.baseline))}H${right}`} />
      )}
      {drawn.map((s) => (
        <Band key={s.name} series={s} x={x} y={y} axes={axes} />
      ))}
      {drawn.map((s) => (
        <Line key={s.name} series={s} x={x} y={y} axes={axes} />
      ))}
      {drawn.map((s, i) => {
        const e = ends[i],
          at = places[i]!;
        if (!beside) {
          return (
            <Key
              key={s.name}
              series={s}
              x={4 + key[i]!.x}
              y={28 + key[i]!.line * GAP * 1.2}
              room={width - 8}
            />
          );
        }
        if (!e) return null;
        return (
          <g key={s.name}>
            <path class="leader" d={`M${round(e[0] + 5)},${round(e[1])}L${right + KEY - 2},${round(at)}`} />
            <Key series={s} x={right + KEY} y={at} room={longest - KEY + 6} />
          </g>
        );
      })}
    </g>
  );
}

function Key({ series, x, y, room }: { series: Drawn; x: number; y: number; room: number }): VNode {
  return (
    <g transform={`translate(${round(x)},${round(y)})`} class={series.tone}>
      <path class="line" d="M0,0H16" stroke-dasharray={series.dash || undefined} />
      {series.symbol < 0 ? null : <path class="mark" transform="translate(8,0)" d={glyph(series.symbol)} />}
      <text x={20} y={4}>
        {fit(series.name, room - 18)}
      </text>
    </g>
  );
}

interface Laid {
  series: Drawn;
  x: Scale;
  y: Scale;
  axes: Axes;
}

function Band({ series, x, y, axes }: Laid): VNode {
  const known = (p: Point | undefined) =>
    p !== undefined && place(y, p.lo, axes.yLog) !== null && place(y, p.hi, axes.yLog) !== null;
  const path = areaPath(
    series.points.map((p) => (known(p) ? [x(p.x), y(p.lo!), y(p.hi!)] : null)),
  );
  // A point whose neighbors have no interval would have a band of no width.
  const alone = series.points.filter(
    (p, i) => known(p) && !known(series.points[i - 1]) && !known(series.points[i + 1]),
  );
  return (
    <g class={series.tone}>
      {path ? <path class="band" d={path} /> : null}
      {alone.map((p) => (
        <path key={p.x} class="whisker" d={`M${round(x(p.x))},${round(y(p.lo!))}V${round(y(p.hi!))}`} />
      ))}
    </g>
  );
}

function Line({ series, x, y, axes }: Laid): VNode {
  const known = (p: Point) => place(y, p.y, axes.yLog) !== null && place(x, p.x, axes.xLog) !== null;
  const path = linePath(series.points.map((p) => (known(p) ? [x(p.x), y(p.y!)] : null)));
  const points = series.points.filter(known);
  return (
    <g class={series.tone}>
      {path ? <path class="line" d={path} stroke-dasharray={series.dash || undefined} /> : null}
      {points.length > MARKED
        ? null
        : points.map((p) => (
            <path
              key={p.x}
              class="mark"
              transform={`translate(${round(x(p.x))},${round(y(p.y!))})`}
              d={glyph(series.symbol, series.symbol < 0 ? 16 : 32)}
            >
              <title>{`${series.name}, ${axes.xLabel} ${tick(p.x)}: ${spoken(p.y, p.lo, p.hi)}`}</title>
            </path>
          ))}
    </g>
  );
}

function end(series: Series, x: Scale, y: Scale, axes: Axes): [number, number] | null {
  for (let i = series.points.length - 1; i >= 0; i--) {
    const p = series.points[i]!,
      at = place(y, p.y, axes.yLog),
      across = place(x, p.x, axes.xLog);
    if (at !== null && across !== null) return [across, at];
  }
  return null;
}

/** One layer alone stands in the middle of its whole-numbered axis. */
function aroundWhole(xs: number[]): [number, number] | undefined {
  return new Set(xs).size === 1 ? [xs[0]! - 1, xs[0]! + 1] : undefined;
}

/** Few places get a tick each, as far as their labels fit; whole numbers only at whole numbers. */
function ticksX(x: Scale, xs: number[], room: number, log = false): { at: number; text: string }[] {
  const known = [...new Set(xs)].sort((a, b) => a - b);
  if (known.length <= 12) {
    return known.filter((v) => place(x, v, log) !== null).map((v) => ({ at: v, text: tick(v) }));
  }
  const ticks = ticksOf(x, Math.max(Math.floor(room / 56), 2), log);
  return known.every(Number.isInteger) ? ticks.filter((t) => Number.isInteger(t.at)) : ticks;
}
