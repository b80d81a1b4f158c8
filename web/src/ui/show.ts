// Numbers are printed as the terminal UI prints them (petriscope.atlas.show): same forms, same digits.
// Python rounds the exact binary value half to even and keeps the sign of zero; toFixed and
// toExponential round half up and drop it.
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
    case "signed": return plus(Math.abs(value) < 1000 ? fixed(value, 2) : exponent(value, 1));
    case "flag": return value ? "yes" : "no";
    case "number": return number(value);
    default: return String(value);
  }
}

/** Three significant digits without an exponent in the readable range. */
export function number(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 10_000 || size < 0.001) return tidy(exponent(value, 1)).replace("e+0", "e");
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
  if (size < 0.0001) return tidy(exponent(times, 0));
  return fixed(times, 1 - Math.floor(Math.log10(size)));
}

function probability(value: number): string {
  if (value <= 0) return "<1e-300";
  return value >= 0.001 ? fixed(value, 3) : tidy(exponent(value, 1));
}

const tidy = (text: string) => text.replace("e-0", "e-");
const plus = (text: string) => (text.startsWith("-") ? text : `+${text}`);
export const grouped = (value: number) => whole(value).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
const whole = (value: number) => (Math.abs(value) <= 2 ** 53 ? String(value) : String(BigInt(value)));

/** Python's f"{value:.{digits}f}". */
function fixed(value: number, digits: number): string {
  const size = Math.abs(value);
  if (size === Infinity) return signed(value, "inf");
  if (size >= 1e21) return signed(value, `${whole(size)}.${"0".repeat(digits)}`);
  const text = size.toFixed(digits), last = Number(text.at(-1));
  // Only odd multiples of 2^-(digits + 1) end in a 5 just after the last digit.
  const tie = (size * 2 ** (digits + 1)) % 2 === 1;
  return signed(value, tie && last % 2 ? text.slice(0, -1) + (last - 1) : text);
}

/** Python's f"{value:.{digits}e}": the power has two digits at least. */
function exponent(value: number, digits: number): string {
  const size = Math.abs(value);
  if (size === Infinity) return signed(value, "inf");
  const [exact, power] = size.toExponential(100).split("e") as [string, string];
  const kept = exact.slice(0, digits + 2), rest = exact.slice(digits + 2);
  const down = /^50*$/.test(rest) && Number(kept.at(digits ? -1 : 0)) % 2 === 0;
  const [mantissa, rounded] = down ? [digits ? kept : kept[0], power] : size.toExponential(digits).split("e");
  return signed(value, `${mantissa}e${rounded![0]}${rounded!.slice(1).padStart(2, "0")}`);
}

const signed = (value: number, text: string) => (value < 0 || Object.is(value, -0) ? `-${text}` : text);
