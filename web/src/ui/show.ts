// Numbers are printed as the terminal UI prints them (petriscope_tui.form): same forms, same digits.
import type { Form } from "../data/format";

export const NONE = "·";

export function show(value: number | string | null | undefined, form: Form | "percent", none = NONE): string {
  if (value === null || value === undefined || (typeof value === "number" && Number.isNaN(value))) return none;
  if (typeof value === "string") return value;
  switch (form) {
    case "count": return grouped(Math.trunc(value));
    case "share": return `${percent(value)} %`;
    case "percent": return percent(value);
    case "p": return probability(value);
    case "signed": return Math.abs(value) < 1000 ? plus(fixed(value, 2)) : plus(exponent(value, 1));
    case "flag": return value ? "yes" : "no";
    case "number": return number(value);
    default: return String(value);
  }
}

/** Three significant digits without an exponent in the readable range. */
export function number(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 10_000 || size < 0.001) return exponent(value, 1);
  return fixed(value, Math.max(0, 2 - Math.floor(Math.log10(size))));
}

/** A threshold as prose writes it: .05, .7, 1. */
export const bound = (value: number): string => String(value).replace(/^0(?=\.)/, "") || "0";

export const interval = (lo: number | null, hi: number | null, form: Form = "number", none = NONE): string =>
  lo === null || hi === null ? none : `[${show(lo, form)}, ${show(hi, form)}]`;

function percent(value: number): string {
  const times = value * 100, size = Math.abs(times);
  if (size === 0) return "0";
  if (size >= 1) return fixed(times, 1);
  if (size < 0.0001) return exponent(times, 0);
  return fixed(times, 1 - Math.floor(Math.log10(size)));
}

function probability(value: number): string {
  if (value <= 0) return "<1e-300";
  return value >= 0.001 ? fixed(value, 3) : exponent(value, 1);
}

const fixed = (value: number, digits: number) => value.toFixed(digits);
const plus = (text: string) => (text.startsWith("-") ? text : `+${text}`);
const exponent = (value: number, digits: number) => value.toExponential(digits).replace("e+0", "e0").replace("e+", "e");
export const grouped = (value: number) => String(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
