// The map inside a figure: the image of the points, the key above it, and the brush.
import { useRef, useState } from "preact/hooks";
import { keyLines, viridis } from "../../chart/frame";
import type { Form } from "../../data/format";
import { grouped, show } from "../../ui/show";
import type { Coloring, Positions } from "./paint";

/** A rectangle in the unit square: left, top, right, bottom. */
export type Brush = [number, number, number, number];

export const KEY = 54;
const STEP = 17;
const REACH = 6;

interface Props {
  width: number;
  image: string;
  coloring: Coloring;
  form: Form;
  at: Positions;
  rows: Uint32Array;
  brush: Brush | null;
  onBrush: (brush: Brush | null) => void;
  /** The row under the pointer. */
  onPoint: (row: number | null) => void;
  onOpen: (row: number) => void;
}

export function Drawing({ width, image, coloring, form, at, rows, brush, onBrush, onPoint, onOpen }: Props) {
  const area = useRef<SVGRectElement>(null);
  const start = useRef<[number, number] | null>(null);
  const [drawn, setDrawn] = useState<Brush | null>(null);
  const place = (event: PointerEvent): [number, number] => {
    const box = area.current!.getBoundingClientRect();
    const share = (value: number) => Math.min(Math.max(value, 0), 1);
    return [share((event.clientX - box.left) / box.width), share((event.clientY - box.top) / box.height)];
  };
  const nearest = ([x, y]: [number, number]): number | null => {
    let best: number | null = null,
      least = (REACH / width) ** 2;
    for (const row of rows) {
      const distance = (at.x[row]! - x) ** 2 + (at.y[row]! - y) ** 2;
      if (distance < least) [best, least] = [row, distance];
    }
    return best;
  };
  const moved = (event: PointerEvent) => {
    const [x, y] = place(event),
      from = start.current;
    if (!from) onPoint(nearest([x, y]));
    else setDrawn([Math.min(x, from[0]), Math.min(y, from[1]), Math.max(x, from[0]), Math.max(y, from[1])]);
  };
  const ended = (event: PointerEvent) => {
    const from = start.current,
      to = place(event);
    start.current = null;
    setDrawn(null);
    if (!from) return;
    if (Math.hypot(to[0] - from[0], to[1] - from[1]) * width > 4) {
      onBrush([
        Math.min(to[0], from[0]),
        Math.min(to[1], from[1]),
        Math.max(to[0], from[0]),
        Math.max(to[1], from[1]),
      ]);
      return;
    }
    const row = nearest(to);
    if (row === null) onBrush(null);
    else onOpen(row);
  };
  const shown = drawn ?? brush;
  return (
    <g>
      <Key coloring={coloring} form={form} width={width} />
      <g transform={`translate(0,${KEY})`}>
        <rect class="rule" width={width} height={width} />
        {shown ? (
          <rect
            class="brush"
            x={shown[0] * width}
            y={shown[1] * width}
            width={(shown[2] - shown[0]) * width}
            height={(shown[3] - shown[1]) * width}
          />
        ) : null}
        <image href={image} width={width} height={width} />
        <rect
          ref={area}
          class="area"
          width={width}
          height={width}
          fill="none"
          pointer-events="all"
          onPointerDown={(e) => {
            start.current = place(e);
            e.currentTarget.setPointerCapture(e.pointerId);
          }}
          onPointerMove={moved}
          onPointerUp={ended}
          onPointerLeave={() => onPoint(null)}
        />
      </g>
    </g>
  );
}

function Key({ coloring, form, width }: { coloring: Coloring; form: Form; width: number }) {
  if (coloring.scale) {
    const { low, high } = coloring.scale,
      steps = 32,
      room = 200;
    return (
      <g class="key" transform="translate(2,8)">
        {Array.from({ length: steps }, (_, k) => (
          <rect
            key={k}
            x={(k * room) / steps}
            width={room / steps + 0.5}
            height="12"
            fill={viridis(k / (steps - 1))}
          />
        ))}
        <text y="28">{show(low, form)} or less</text>
        <text x={room} y="28" text-anchor="end">
          {show(high, form)} or more
        </text>
      </g>
    );
  }
  const words = coloring.groups.map((g) => `${g.word} ${grouped(g.count)}`);
  const places = keyLines(words, width - 8, 16);
  return (
    <g class="key">
      {coloring.groups.map((g, i) => (
        <g key={g.word} transform={`translate(${8 + places[i]!.x},${10 + places[i]!.line * STEP})`}>
          <circle r="5" fill={g.color} stroke="currentColor" stroke-width=".6" />
          <text x={9} y={4}>
            {words[i]}
          </text>
        </g>
      ))}
    </g>
  );
}
