// What the drawings share: sizes of text, scales, ticks, axes and keys. Pure functions of numbers.
import type { VNode } from "preact";
import { number } from "../ui/show";
import { SYMBOLS } from "./paths";
import { linear, logarithmic, widened, type Scale } from "./scale";

export type { Scale };

export interface Size {
  width: number;
  height: number;
}
export interface Axes {
  xLabel: string;
  yLabel: string;
  xTicks?: { at: number; text: string }[];
  xDomain?: [number, number];
  yDomain?: [number, number];
  xLog?: boolean;
  yLog?: boolean;
  /** A dashed horizontal line at this value, such as 0 or 1. */
  baseline?: number;
}

export const FONT = 12;
/** Widths of letters in ems, of the widest among common system fonts (DejaVu Sans, Verdana). */
const LETTERS: [RegExp, number][] = [
  [/[mMW@%—…]/, 0.97],
  [/[A-Zw&]/, 0.74],
  [/[ijl.,:;|!']/, 0.33],
  [/[tfrI()[\] -]/, 0.42],
];

/** Text cannot be measured in a pure function; it is taken to be as wide as its letters are at most. */
export function textWidth(text: string, size = FONT): number {
  let width = 0;
  for (const c of text) width += LETTERS.find(([kind]) => kind.test(c))?.[1] ?? 0.63;
  return width * size;
}

/** Text cut to a width, with an ellipsis. */
export function fit(text: string, room: number, size = FONT): string {
  if (textWidth(text, size) <= room) return text;
  let kept = text.length - 1;
  while (kept > 1 && textWidth(`${text.slice(0, kept)}…`, size) > room) kept--;
  return `${text.slice(0, kept).trimEnd()}…`;
}

/** The label of a tick: whole numbers without decimals, no trailing zeros. */
export function tick(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential().replace("e+", "e");
  const plain = Number(value.toPrecision(6));
  return size >= 10_000 ? String(plain).replace(/\B(?=(\d{3})+(?!\d))/g, ",") : String(plain);
}

const usable = (value: number | null | undefined, log: boolean): value is number =>
  typeof value === "number" && Number.isFinite(value) && (!log || value > 0);

export interface ScaleWish {
  log?: boolean;
  domain?: [number, number];
  nice?: boolean;
  zero?: boolean;
}

/** A scale that holds all values; one value gets room on both sides. */
export function scaleOf(
  values: (number | null | undefined)[],
  range: [number, number],
  wish: ScaleWish = {},
): Scale {
  const log = wish.log ?? false;
  const known = values.filter((v): v is number => usable(v, log));
  let [low, high] = wish.domain ?? [Math.min(...known), Math.max(...known)];
  if (!Number.isFinite(low) || !Number.isFinite(high)) [low, high] = log ? [1, 10] : [0, 1];
  if (wish.zero && !log && !wish.domain) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  // Less than one part in ten thousand is not a difference that ticks could name.
  if (high - low <= 1e-4 * Math.max(Math.abs(low), Math.abs(high)))
    [low, high] = log
      ? [low / 2, high * 2]
      : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  const domain: [number, number] =
    wish.nice === false || wish.domain ? [low, high] : widened([low, high], log);
  return log ? logarithmic(domain, range) : linear(domain, range);
}

/** The place of a value, or null where the scale has none. */
export function place(scale: Scale, value: number | null | undefined, log = false): number | null {
  return usable(value, log) ? scale(value) : null;
}

/** Few ticks; powers of ten on a logarithmic scale that spans more than one. */
export function ticksOf(scale: Scale, count: number, log = false): { at: number; text: string }[] {
  let at = scale.ticks(count);
  if (log) {
    const powers = at.filter((v) => Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-9);
    const step = Math.ceil(powers.length / count);
    at =
      powers.length > 1
        ? powers.filter((_, i) => i % step === 0)
        : at.filter((_, i) => i % Math.ceil(at.length / count) === 0);
  }
  return at.map((v) => ({ at: v, text: tick(v) }));
}

/** Ticks whose labels do not run into each other. */
export function thinned(ticks: { at: number; text: string }[], scale: Scale): { at: number; text: string }[] {
  const kept: typeof ticks = [];
  let free = -Infinity;
  for (const t of [...ticks].sort((a, b) => scale(a.at) - scale(b.at))) {
    const x = scale(t.at),
      half = textWidth(t.text) / 2;
    if (x - half < free) continue;
    kept.push(t);
    free = x + half + 8;
  }
  return kept;
}

/** The horizontal axis below a plot, its label in the middle. */
export function XAxis({
  scale,
  ticks,
  y,
  label,
}: {
  scale: Scale;
  ticks: { at: number; text: string }[];
  y: number;
  label: string;
}): VNode {
  const [from, to] = scale.range();
  return (
    <g class="axis">
      <path class="rule" d={`M${from},${y}H${to}`} />
      {thinned(ticks, scale).map((t) => (
        <g key={t.at} transform={`translate(${round(scale(t.at))},${y})`}>
          <path class="rule" d="M0,0V4" />
          <text y={16} text-anchor="middle">
            {t.text}
          </text>
        </g>
      ))}
      <text class="label" x={(from + to) / 2} y={y + 33} text-anchor="middle">
        {fit(label, Math.max(to - from + 60, 80))}
      </text>
    </g>
  );
}

/** The vertical axis with faint lines over the plot; its label stands upright above the axis. */
export function YAxis({
  scale,
  ticks,
  left,
  right,
  label,
}: {
  scale: Scale;
  ticks: { at: number; text: string }[];
  left: number;
  right: number;
  label: string;
}): VNode {
  return (
    <g class="axis">
      {ticks.map((t) => (
        <g key={t.at} transform={`translate(${left},${round(scale(t.at))})`}>
          <path class="grid" d={`M0,0H${right - left}`} />
          <text x={-6} y={4} text-anchor="end">
            {t.text}
          </text>
        </g>
      ))}
      <text class="label" x={2} y={12}>
        {fit(label, right - 4)}
      </text>
    </g>
  );
}

/** Room that the labels of an axis need at the left. */
export const roomFor = (ticks: { text: string }[]): number =>
  Math.max(...ticks.map((t) => textWidth(t.text)), 12) + 10;

/** Places with at least `gap` between them, moved as little as a pass down and a pass up can. */
export function spread(wanted: number[], gap: number, low: number, high: number): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a]! - wanted[b]!);
  const out = [...wanted];
  let last = low - gap;
  for (const i of order) last = out[i] = Math.max(out[i]!, last + gap);
  let next = high + gap;
  for (const i of order.reverse()) next = out[i] = Math.min(out[i]!, next - gap);
  return out;
}

export const CATEGORIES = SYMBOLS.length;

/** The class that colors category `index`; from the eighth on all are "other". */
export const category = (index: number): string =>
  index >= 0 && index < CATEGORIES ? `c${index}` : "cother";

/** The outline of a category's symbol, so that color is never alone. */
export const glyph = (index: number, area = 36): string =>
  SYMBOLS[index >= 0 && index < CATEGORIES ? index : 0]!(area);

/** A key of words with marks, broken into lines that fit. */
export function keyLines(words: string[], width: number, mark = 22): { x: number; line: number }[] {
  let x = 0,
    line = 0;
  return words.map((word) => {
    const room = mark + textWidth(word) + 14;
    if (x > 0 && x + room > width) {
      x = 0;
      line++;
    }
    const at = { x, line };
    x += room;
    return at;
  });
}

/** A value with its interval in words, for tooltips. */
export const spoken = (value: number | null | undefined, lo?: number | null, hi?: number | null): string =>
  value === null || value === undefined
    ? "not measured"
    : lo === null || lo === undefined || hi === null || hi === undefined
      ? number(value)
      : `${number(value)} [${number(lo)}, ${number(hi)}]`;

/** Coordinates to a tenth of a pixel: short files, the same bytes everywhere. */
export const round = (value: number): number => Math.round(value * 10) / 10;

/** Viridis (Smith and van der Walt, CC0) at sixteen even steps. */
const VIRIDIS = [
  "440154",
  "481a6c",
  "472f7d",
  "414487",
  "39568c",
  "31688e",
  "2a788e",
  "23888e",
  "1f988b",
  "22a884",
  "35b779",
  "54c568",
  "7ad151",
  "a5db36",
  "d2e21b",
  "fde725",
].map((hex) => [0, 2, 4].map((at) => parseInt(hex.slice(at, at + 2), 16)));

/** The color of a share 0..1. */
export function viridis(share: number): string {
  const at = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1),
    low = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const mixed = VIRIDIS[low]!.map((v, i) => Math.round(v + (VIRIDIS[low + 1]![i]! - v) * (at - low)));
  return `#${mixed.map((v) => v.toString(16).padStart(2, "0")).join("")}`;
}
