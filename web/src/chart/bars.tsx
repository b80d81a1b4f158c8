// Rows with a label at the left and the number at the right: bars beside their null, and effects with
// their intervals. The numbers stand in a column of their own, so no text lies on a drawing.
import type { VNode } from "preact";
import type { Form } from "../data/format";
import { interval, show } from "../ui/show";
import { fit, round, scaleOf, spoken, textWidth, ticksOf, XAxis, type Scale, type Size } from "./frame";

export interface BarRow {
  label: string;
  value: number | null;
  null?: number | null;
  lo?: number | null;
  hi?: number | null;
  href?: string;
}
export interface ForestRow {
  label: string;
  estimate: number | null;
  lo: number | null;
  hi: number | null;
  tone?: "reference" | "target" | "none";
  href?: string;
}

/** The height at which `rows` rows are easy to read; `key` where a key of marks stands above. */
export const rowsHeight = (rows: number, key = true): number => Math.max(rows, 1) * 20 + 40 + (key ? 22 : 6);

const known = (value: number | null | undefined): value is number =>
  typeof value === "number" && Number.isFinite(value);

/** Horizontal bars: value beside its null (a dashed tick), labels at the left. */
export function Bars({
  width,
  height,
  rows,
  xLabel,
  form = "number",
  nullForm = form,
  xDomain,
  nullName = "null",
}: Size & {
  rows: BarRow[];
  xLabel: string;
  form?: string;
  nullForm?: string;
  xDomain?: [number, number];
  nullName?: string;
}): VNode {
  const print = (v: number | null | undefined) => show(v, form as Form);
  const beside = rows.some((r) => known(r.null)),
    ranged = rows.some((r) => known(r.lo) && known(r.hi));
  const top = beside || ranged ? 22 : 6,
    bottom = height - 40;
  const said = rows.map((r) =>
    beside
      ? `${print(r.value)} (${known(r.null) ? show(r.null, nullForm as Form) : "not tested"})`
      : print(r.value),
  );
  const { left, right } = columns(
    width,
    rows.map((r) => r.label),
    said,
  );
  const x = scaleOf(
    rows.flatMap((r) => [r.value, r.null, r.lo, r.hi]),
    [left, right],
    { zero: true, domain: xDomain },
  );
  const step = (bottom - top) / Math.max(rows.length, 1),
    thick = Math.min(step * 0.62, 16),
    zero = x(Math.max(x.domain()[0]!, 0));
  return (
    <g class="bars">
      {beside || ranged ? <BarKey ranged={ranged} beside={beside} nullName={nullName} /> : null}
      {rows.map((r, i) => {
        const y = top + step * (i + 0.5);
        return (
          <g key={i} transform={`translate(0,${round(y)})`}>
            <title>
              {`${r.label}: ${spoken(r.value, r.lo, r.hi)}`}
              {known(r.null) ? `, ${nullName} ${spoken(r.null)}` : ""}
            </title>
            <RowLabel text={r.label} href={r.href} left={left} />
            {known(r.value) ? (
              <rect
                class="bar"
                x={round(Math.min(zero, x(r.value)))}
                y={round(-thick / 2)}
                width={round(Math.max(Math.abs(x(r.value) - zero), 1))}
                height={round(thick)}
              />
            ) : null}
            {known(r.lo) && known(r.hi) ? (
              <path class="whisker over" d={`M${round(x(r.lo))},0H${round(x(r.hi))}`} />
            ) : null}
            {known(r.null) ? (
              <path
                class="nulltick"
                d={`M${round(x(r.null))},${round(-step * 0.45)}V${round(step * 0.45)}`}
              />
            ) : null}
            <text class="figure-number" x={width - 4} y={4} text-anchor="end">
              {said[i]}
            </text>
          </g>
        );
      })}
      <RowAxis x={x} y={bottom} label={xLabel} right={right} left={left} />
    </g>
  );
}

function BarKey({ ranged, beside, nullName }: { ranged: boolean; beside: boolean; nullName: string }): VNode {
  let at = 4;
  const next = (word: string) => {
    const here = at;
    at += 22 + textWidth(word) + 14;
    return here;
  };
  return (
    <g class="key" transform="translate(0,9)">
      <g transform={`translate(${next("value")},0)`}>
        <rect class="bar" x={0} y={-5} width={16} height={10} />
        <text x={20} y={4}>
          value
        </text>
      </g>
      {ranged ? (
        <g transform={`translate(${next("95 % interval")},0)`}>
          <path class="whisker" d="M0,0H16" />
          <text x={20} y={4}>
            95 % interval
          </text>
        </g>
      ) : null}
      {beside ? (
        <g transform={`translate(${next(nullName)},0)`}>
          <path class="nulltick" d="M8,-7V7" />
          <text x={20} y={4}>
            {nullName}, in brackets
          </text>
        </g>
      ) : null}
    </g>
  );
}

/** Effects with intervals, a dashed line at zero. */
export function Forest({
  width,
  height,
  rows,
  xLabel,
  zero = 0,
  form = "number",
}: Size & {
  rows: ForestRow[];
  xLabel: string;
  zero?: number;
  form?: string;
}): VNode {
  const top = 6,
    bottom = height - 40;
  const said = rows.map((r) =>
    r.estimate === null
      ? "not tested"
      : `${show(r.estimate, form as Form)} ${interval(r.lo, r.hi, form as Form)}`,
  );
  const { left, right } = columns(
    width,
    rows.map((r) => r.label),
    said,
  );
  const x = scaleOf([zero, ...rows.flatMap((r) => [r.estimate, r.lo, r.hi])], [left, right]);
  const step = (bottom - top) / Math.max(rows.length, 1);
  return (
    <g class="forest">
      <path class="baseline" d={`M${round(x(zero))},${top}V${bottom}`} />
      {rows.map((r, i) => (
        <g
          key={i}
          class={`tone-${r.tone ?? "none"}`}
          transform={`translate(0,${round(top + step * (i + 0.5))})`}
        >
          <title>{`${r.label}: ${spoken(r.estimate, r.lo, r.hi)}`}</title>
          <RowLabel text={r.label} href={r.href} left={left} />
          {known(r.lo) && known(r.hi) ? (
            <path
              class="whisker"
              d={`M${round(x(r.lo))},0H${round(x(r.hi))}M${round(x(r.lo))},-4V4M${round(x(r.hi))},-4V4`}
            />
          ) : null}
          {known(r.estimate) ? <Estimate x={round(x(r.estimate))} tone={r.tone} /> : null}
          <text class="figure-number" x={width - 4} y={4} text-anchor="end">
            {said[i]}
          </text>
        </g>
      ))}
      <RowAxis x={x} y={bottom} label={xLabel} right={right} left={left} />
    </g>
  );
}

/** Target and reference differ by shape too. */
function Estimate({ x, tone }: { x: number; tone?: string }): VNode {
  if (tone === "target") return <path class="mark" d={`M${x - 5},5L${x},-5L${x + 5},5Z`} />;
  if (tone === "reference") return <path class="mark" d={`M${x - 4},-4H${x + 4}V4H${x - 4}Z`} />;
  return <circle class="mark" cx={x} cy={0} r={4} />;
}

function RowLabel({ text, href, left }: { text: string; href?: string; left: number }): VNode {
  const label = (
    <text x={left - 8} y={4} text-anchor="end">
      {fit(text, left - 10)}
    </text>
  );
  return href ? <a href={href}>{label}</a> : label;
}

function RowAxis({
  x,
  y,
  label,
  left,
  right,
}: {
  x: Scale;
  y: number;
  label: string;
  left: number;
  right: number;
}): VNode {
  return (
    <XAxis scale={x} ticks={ticksOf(x, Math.max(Math.floor((right - left) / 60), 2))} y={y} label={label} />
  );
}

/** Where the plot lies between the labels and the numbers. */
function columns(width: number, labels: string[], said: string[]): { left: number; right: number } {
  const wanted = Math.max(...labels.map((t) => textWidth(t)), 20) + 12;
  const numbers = Math.max(...said.map((t) => textWidth(t)), 20) + 12;
  const left = Math.min(wanted, Math.max(width * 0.42, 60));
  return { left, right: Math.max(width - numbers - 4, left + 60) };
}
