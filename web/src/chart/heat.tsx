// Rows by columns in viridis, with a color bar; cells without a value are crossed out.
import type { VNode } from "preact";
import { fit, round, spoken, textWidth, tick, viridis, type Size } from "./frame";

/** Rows by columns, viridis; null cells hatched. */
export function Heat({
  width,
  height,
  rows,
  columns,
  cells,
  label,
  domain,
}: Size & {
  rows: string[];
  columns: string[];
  cells: (number | null)[][];
  label: string;
  domain?: [number, number];
}): VNode {
  const known = cells.flat().filter((v): v is number => v !== null && Number.isFinite(v));
  const [low, high] = domain ?? (known.length ? [Math.min(...known), Math.max(...known)] : [0, 1]);
  const left = Math.min(Math.max(...rows.map((r) => textWidth(r)), 12) + 8, width * 0.35);
  const wide = (width - left - 8) / Math.max(columns.length, 1);
  const longest = Math.max(...columns.map((c) => textWidth(c)), 12);
  const upright = longest + 4 > wide;
  const below = upright ? Math.min(longest + 10, 110) : 20;
  const top = 42,
    bottom = height - below,
    tall = (bottom - top) / Math.max(rows.length, 1);
  // Names that would run into each other are left out evenly; the data table has them all.
  const eachColumn = upright ? Math.ceil(13 / wide) : 1,
    eachRow = Math.ceil(12 / tall);
  const share = (v: number) => (high > low ? (v - low) / (high - low) : 0.5);
  return (
    <g class="heat">
      <ColorBar low={low} high={high} label={label} width={width} />
      {rows.map((row, r) => (
        <g key={r}>
          {r % eachRow === 0 ? (
            <text x={left - 5} y={round(top + tall * (r + 0.5) + 4)} text-anchor="end">
              {fit(row, left - 6)}
            </text>
          ) : null}
          {columns.map((column, c) => {
            const value = cells[r]?.[c] ?? null,
              x = round(left + wide * c),
              y = round(top + tall * r),
              w = round(wide),
              h = round(tall);
            const title = <title>{`${row}, ${column}: ${spoken(value)}`}</title>;
            return value === null ? (
              <g key={c} class="blank">
                <rect x={x} y={y} width={w} height={h}>
                  {title}
                </rect>
                <path d={`M${x},${y + h}L${round(x + w)},${y}`} />
              </g>
            ) : (
              <rect key={c} class="cell" x={x} y={y} width={w} height={h} fill={viridis(share(value))}>
                {title}
              </rect>
            );
          })}
        </g>
      ))}
      {columns.map((column, c) => {
        if (c % eachColumn) return null;
        const x = round(left + wide * (c + 0.5));
        return upright ? (
          <text key={c} transform={`translate(${x + 4},${bottom + 5})rotate(-90)`} text-anchor="end">
            {fit(column, below - 6)}
          </text>
        ) : (
          <text key={c} x={x} y={bottom + 14} text-anchor="middle">
            {column}
          </text>
        );
      })}
    </g>
  );
}

function ColorBar({
  low,
  high,
  label,
  width,
}: {
  low: number;
  high: number;
  label: string;
  width: number;
}): VNode {
  const steps = 24,
    long = Math.min(140, width * 0.3),
    at = width - long - 8;
  return (
    <g class="key">
      <text class="label" x={2} y={12}>
        {fit(label, at - 10)}
      </text>
      {Array.from({ length: steps }, (_, i) => (
        <rect
          key={i}
          x={round(at + (long * i) / steps)}
          y={2}
          width={round(long / steps) + 0.4}
          height={10}
          fill={viridis(i / (steps - 1))}
        />
      ))}
      <text x={at} y={25}>
        {tick(Number(low.toPrecision(3)))}
      </text>
      <text x={at + long} y={25} text-anchor="end">
        {tick(Number(high.toPrecision(3)))}
      </text>
    </g>
  );
}
