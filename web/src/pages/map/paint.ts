// Points of the map as pixels: a hundred thousand discs are too many for SVG, and a few milliseconds
// for an image.
import { MISSING, type Values } from "../../data/columns";
import { CATEGORIES, viridis } from "../../chart/frame";

/** Colors of a theme as 0xAABBGGRR, the order of bytes in an image. */
export interface Palette {
  categories: number[];
  other: number;
  /** Of features without a value, and of those that the filter leaves out. */
  none: number;
  pale: number;
}

export interface Group {
  word: string;
  /** The value behind it; null: other, or no value. */
  value: string | null;
  count: number;
  color: string;
}

export interface Coloring {
  /** Color of each row. */
  colors: Uint32Array;
  /** Categories in order of size, at most seven and "other"; empty for a scale. */
  groups: Group[];
  /** Ends of the scale of a score; null for categories. */
  scale: { low: number; high: number } | null;
}

const CSS = ["--c0", "--c1", "--c2", "--c3", "--c4", "--c5", "--c6"];

export function palette(): Palette & { key: string; css: string[] } {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string) => style.getPropertyValue(name).trim();
  const css = [...CSS.map(read), read("--other")];
  return {
    categories: css.slice(0, CATEGORIES).map((c) => pixel(c)),
    other: pixel(css.at(-1)!),
    none: grey(0xa0),
    pale: grey(0x38),
    key: css.join(),
    css,
  };
}

/** Grey that lets the ground through: faint on white and on black, so also in a saved figure. */
const grey = (opacity: number): number => ((opacity << 24) | 0x808080) >>> 0;

export function pixel(hex: string): number {
  const full = hex.length === 4 ? hex.replace(/[^#]/g, "$&$&") : hex;
  const value = parseInt(full.slice(1, 7), 16) || 0;
  return ((255 << 24) | ((value & 255) << 16) | (value & 0xff00) | (value >>> 16)) >>> 0;
}

const missing = (values: Values, row: number): boolean => {
  const v = values.raw[row]!;
  return Number.isNaN(v) || v === MISSING[values.column.store];
};

/** A color for each row: by word or number of a category, or along viridis for a score. */
export function coloring(
  values: Values,
  categorical: boolean,
  rows: Uint32Array,
  theme: ReturnType<typeof palette>,
): Coloring {
  return categorical ? byCategory(values, rows, theme) : byScore(values, rows, theme);
}

function byCategory(values: Values, rows: Uint32Array, theme: ReturnType<typeof palette>): Coloring {
  const counts = new Map<number, number>();
  let none = 0;
  for (const row of rows) {
    if (missing(values, row)) none++;
    else counts.set(values.raw[row]!, (counts.get(values.raw[row]!) ?? 0) + 1);
  }
  const sorted = [...counts].sort((a, b) => b[1] - a[1] || a[0] - b[0]);
  const place = new Map(sorted.slice(0, CATEGORIES).map(([value], i) => [value, i]));
  const colors = new Uint32Array(values.raw.length).fill(theme.none);
  for (const row of rows) {
    if (missing(values, row)) continue;
    const at = place.get(values.raw[row]!);
    colors[row] = at === undefined ? theme.other : theme.categories[at]!;
  }
  const word = (value: number) => (values.words.length ? values.words[value - 1]! : String(value));
  const groups: Group[] = sorted.slice(0, CATEGORIES).map(([value, count], i) => ({
    word: word(value),
    value: word(value),
    count,
    color: theme.css[i]!,
  }));
  const rest = sorted.slice(CATEGORIES);
  if (rest.length) {
    const count = rest.reduce((sum, [, n]) => sum + n, 0);
    groups.push({ word: rest.length === 1 ? "1 other" : `${rest.length} others`, value: null, count, color: theme.css.at(-1)! });
  }
  if (none) groups.push({ word: "not measured", value: null, count: none, color: "#b0b0b0" });
  return { colors, groups, scale: null };
}

/** Ends at the 2nd and 98th percentile: one outlier must not make all else one color. */
function byScore(values: Values, rows: Uint32Array, theme: ReturnType<typeof palette>): Coloring {
  const told = Float64Array.from(
    rows.filter((row) => !missing(values, row)),
    (row) => values.raw[row]!,
  ).sort();
  const colors = new Uint32Array(values.raw.length).fill(theme.none);
  if (!told.length) return { colors, groups: [], scale: null };
  const low = told[Math.floor(0.02 * (told.length - 1))]!,
    high = told[Math.ceil(0.98 * (told.length - 1))]!;
  const steps = Array.from({ length: 64 }, (_, k) => pixel(viridis(k / 63)));
  for (const row of rows) {
    if (missing(values, row)) continue;
    const share = high > low ? (values.raw[row]! - low) / (high - low) : 0.5;
    colors[row] = steps[Math.round(63 * Math.min(Math.max(share, 0), 1))]!;
  }
  return { colors, groups: [], scale: { low, high } };
}

/** Where rows lie in a square of the unit length; y upwards. */
export interface Positions {
  x: Float32Array;
  y: Float32Array;
}

export function unit(x: Float32Array, y: Float32Array): Positions {
  const along = (raw: Float32Array, turned: boolean): Float32Array => {
    let low = Infinity,
      high = -Infinity;
    for (const v of raw) {
      if (v < low) low = v;
      if (v > high) high = v;
    }
    const room = high > low ? high - low : 1;
    return raw.map((v) => (turned ? (high - v) / room : (v - low) / room) * 0.96 + 0.02);
  };
  return { x: along(x, false), y: along(y, true) };
}

/** An image of `side` pixels: first the rows left out, pale, then the others. */
export function painted(
  at: Positions,
  rows: Uint32Array,
  mask: Uint8Array,
  colors: Uint32Array,
  pale: number,
  side: number,
): string {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  if (!context) return "";
  const image = context.createImageData(side, side);
  const pixels = new Uint32Array(image.data.buffer);
  const radius = rows.length > 30_000 ? 2 : rows.length > 5_000 ? 3 : rows.length > 500 ? 5 : 7;
  const disc = discOf(radius);
  for (const inside of [0, 1]) {
    for (const row of rows) {
      if (mask[row] !== inside || Number.isNaN(at.x[row]!) || Number.isNaN(at.y[row]!)) continue;
      const px = Math.round(at.x[row]! * side),
        py = Math.round(at.y[row]! * side);
      const color = inside ? colors[row]! : pale;
      for (const [dx, dy] of disc) {
        const x = px + dx,
          y = py + dy;
        if (x >= 0 && x < side && y >= 0 && y < side) pixels[y * side + x] = color;
      }
    }
  }
  context.putImageData(image, 0, 0);
  return canvas.toDataURL("image/png");
}

function discOf(radius: number): [number, number][] {
  const found: [number, number][] = [];
  for (let dy = -radius; dy <= radius; dy++) {
    for (let dx = -radius; dx <= radius; dx++) {
      if (dx * dx + dy * dy <= radius * radius) found.push([dx, dy]);
    }
  }
  return found;
}
