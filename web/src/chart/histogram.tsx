// Counts in bins, with thresholds marked by dashed lines whose words stand above the plot.
import type { VNode } from "preact";
import { grouped } from "../ui/show";
import {
  fit,
  roomFor,
  round,
  scaleOf,
  spread,
  textWidth,
  tick,
  ticksOf,
  XAxis,
  YAxis,
  type Size,
} from "./frame";

/** Counts in bins. */
export function Histogram({
  width,
  height,
  bins,
  xLabel,
  yLabel,
  xLog = false,
  marks = [],
}: Size & {
  bins: { from: number; to: number; count: number }[];
  xLabel: string;
  yLabel: string;
  xLog?: boolean;
  marks?: { at: number; text: string }[];
}): VNode {
  const top = 26 + marks.length * 15,
    bottom = height - 40,
    right = width - 14;
  const y = scaleOf([0, ...bins.map((b) => b.count)], [bottom, top], { zero: true });
  const yTicks = ticksOf(y, Math.max(Math.floor((bottom - top) / 40), 2)).filter((t) =>
    Number.isInteger(t.at),
  );
  const left = roomFor(yTicks);
  const x = scaleOf([...bins.flatMap((b) => [b.from, b.to]), ...marks.map((m) => m.at)], [left, right], {
    log: xLog,
    nice: false,
  });
  const inside = marks.filter((m) => !xLog || m.at > 0);
  const lines = spread(
    inside.map((_, i) => 28 + i * 15),
    14,
    26,
    top,
  );
  return (
    <g class="histogram">
      <YAxis scale={y} ticks={yTicks} left={left} right={right} label={yLabel} />
      {bins.map((b) => {
        const from = round(x(b.from)),
          to = round(x(b.to)),
          up = round(y(b.count));
        return (
          <rect
            key={b.from}
            class="bar"
            x={from + 0.5}
            y={up}
            width={Math.max(to - from - 1, 1)}
            height={Math.max(bottom - up, 0)}
          >
            <title>{`${rough(b.from)} to ${rough(b.to)}: ${grouped(b.count)}`}</title>
          </rect>
        );
      })}
      <XAxis
        scale={x}
        ticks={ticksOf(x, Math.max(Math.floor((right - left) / 60), 2), xLog)}
        y={bottom}
        label={xLabel}
      />
      {inside.map((m, i) => {
        const at = round(x(m.at)),
          before = at + textWidth(m.text) + 8 > width;
        return (
          <g key={m.text} class="threshold">
            <path class="baseline" d={`M${at},${lines[i]! - 9}V${bottom}`} />
            <text x={before ? at - 5 : at + 5} y={lines[i]!} text-anchor={before ? "end" : "start"}>
              {fit(m.text, before ? at - 8 : width - at)}
            </text>
          </g>
        );
      })}
    </g>
  );
}

const rough = (value: number): string => tick(Number(value.toPrecision(3)));
