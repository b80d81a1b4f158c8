// The grammar of the filter language, term for term that of petriscope/atlas/filters.py: text to
// clauses, or a FilterError with the same words. No data is needed to parse.
import type { Home } from "../format";
import { idOf } from "../names";
import { closest, digits, float, repr, sentence, SPACE, strip } from "./words";

/** A term that means nothing; the same message as the terminal UI's. */
export class FilterError extends Error {
  constructor(what: string, remedy?: string) {
    super(sentence(what, remedy));
    this.name = "FilterError";
  }
}

/** A half-open, 0-based interval. */
export interface Region {
  chrom: string;
  start: number;
  end: number;
}

export type Order = "<" | "<=" | ">" | ">=" | "!=";
export type Flag = "alive" | "dead" | "context" | "stable" | "causal" | "annotated" | "vivo" | "vitro";

/** What a feature must fulfill. */
export type Clause =
  | { is: "not"; of: Clause }
  | { is: "any"; of: Clause[] }
  | { is: "id"; id: number }
  | { is: "flag"; flag: Flag }
  | { is: "order"; column: string; order: Order; value: number }
  | { is: "within"; column: string; low: number; high: number }
  | { is: "one of"; column: string; values: number[] }
  /** A text column: like %text%, the same but for case, another (or missing), begins with. */
  | { is: "like" | "same" | "other" | "begins"; column: string; text: string }
  /** Label contains the text, letters of all scripts folded. */
  | { is: "labelled"; text: string }
  /** Enriched for a term of the kind that is like %text%. */
  | { is: "annotated"; kind: string; text: string }
  /** Label or any enriched term contains the word. */
  | { is: "word"; text: string }
  | { is: "listed" | "near"; gene: string }
  | { is: "nothing" }
  | { is: "cell type"; text: string }
  | { is: "region"; region: Region };

const MAX_END = 2 ** 29;
const ALIASES: Record<string, string> = {
  cds_q: "q",
  cds_p: "p",
  g: "effect",
  context: "direction",
  mean: "mean_activation",
  units: "n_units",
};
const FLAGS: Flag[] = ["alive", "dead", "context", "stable", "causal", "annotated", "vivo", "vitro"];
export const TERM = new RegExp(`-?(?:[^${SPACE}"]|"[^"]*"?)+`, "gu");
const COMPARISON = /^([A-Za-z_][\p{L}\p{N}_]*)(>=|<=|!=|==|>|<|=|:)(.*)$/su;
const REGION = /^([A-Za-z][\p{L}\p{N}_.]*):(\p{Nd}[\p{Nd},_]*)(?:(?:-|\.\.|–)(\p{Nd}[\p{Nd},_]*))?$/u;

/** chr22:37,500,000-37,600,000 (1-based, both ends included; one position alone is allowed), or
 * null if it is not one. Throws where it has that form but is empty or too far. */
export function parseRegion(text: string): Region | null {
  const match = REGION.exec(strip(text));
  if (!match) return null;
  const place = (part: string) => Number(digits(part).replace(/[,_]/g, ""));
  const first = place(match[2]!),
    last = match[3] ? place(match[3]) : first;
  if (first < 1 || last < first || last > MAX_END) {
    const remedy = "Write chr22:37,500,000-37,600,000";
    throw new FilterError(`region ${repr(text)} is empty or out of range`, remedy);
  }
  return { chrom: match[1]!, start: first - 1, end: last };
}

/** The browser's form of a region: 1-based, both ends included. */
export const regionName = ({ chrom, start, end }: Region): string =>
  `${chrom}:${grouped(start + 1)}-${grouped(end)}`;
const grouped = (value: number) => String(value).replace(/\B(?=(\d{3})+$)/g, ",");

/** Clauses that must all hold. Throws a FilterError that names the first wrong term. */
export function parseFilter(home: Home, text: string): Clause[] {
  return (text.replaceAll("\0", " ").match(TERM) ?? []).map((term) => clause(home, term));
}

function clause(home: Home, term: string): Clause {
  if (term.startsWith("-") && term.length > 1) return { is: "not", of: clause(home, term.slice(1)) };
  const region = term.toLowerCase().startsWith("chr") ? parseRegion(term) : null;
  if (region) return { is: "region", region };
  const id = idOf(term);
  if (id !== null) return { is: "id", id };
  const match = COMPARISON.exec(term);
  if (!match) return word(term.replaceAll('"', ""));
  const written = match[1]!.toLowerCase(),
    operator = match[2]!,
    value = match[3]!;
  const name = Object.hasOwn(ALIASES, written) ? ALIASES[written]! : written;
  if (!value.replaceAll('"', "")) throw new FilterError(`filter term ${repr(term)} has no value`);
  if (name === "is") return flag(term, value);
  const kind = home.kinds.find((k) => k.filters.includes(name));
  if (kind) return any(value, (part) => ({ is: "annotated", kind: kind.name, text: part }));
  if (name === "gene") return any(value, (symbol) => gene(home, symbol));
  if (name === "celltype" && home.tables.includes("celltypes")) {
    return any(value, (part) => ({ is: "cell type", text: part }));
  }
  if (name === "region") return ofRegion(value);
  const column = home.columns.find((c) => c.name === name);
  if (!column) throw unknown(home, term, name);
  return (column.kind === "text" ? ofText : ofNumber)(term, name, operator, value);
}

function unknown(home: Home, term: string, name: string): FilterError {
  const columns = home.columns.map((c) => c.name),
    words = home.kinds.flatMap((k) => k.filters);
  const near = closest(name, [...columns, ...Object.keys(ALIASES), ...words, "gene", "is", "region"]);
  const remedy = near ? `Did you mean ${near}?` : "Press ? for the columns and terms";
  return new FilterError(`filter term ${repr(term)}: no column ${name}`, remedy);
}

function ofRegion(value: string): Clause {
  const region = parseRegion(value.replaceAll('"', ""));
  if (!region) {
    throw new FilterError(`${repr(value)} is not a region`, "Write region:chr22:37,500,000-37,600,000");
  }
  return { is: "region", region };
}

function ofNumber(term: string, column: string, operator: string, value: string): Clause {
  if (operator !== ":" && operator !== "=" && operator !== "==") {
    return { is: "order", column, order: operator as Order, value: number(term, value) };
  }
  const dots = value.indexOf("..");
  if (dots >= 0) {
    const low = number(term, value.slice(0, dots));
    return { is: "within", column, low, high: number(term, value.slice(dots + 2)) };
  }
  const items = value.split(",").filter((item) => item);
  return { is: "one of", column, values: items.map((item) => number(term, item)) };
}

function number(term: string, text: string): number {
  const value = text.endsWith("%") ? float(text.slice(0, -1)) : float(text);
  if (value === null) {
    const what = `filter term ${repr(term)}: ${repr(text)} is not a number`;
    throw new FilterError(what, "Write for example q<.01");
  }
  return text.endsWith("%") ? value / 100 : value;
}

function ofText(term: string, column: string, operator: string, value: string): Clause {
  switch (operator) {
    case ":":
      return any(value, (text) => (column === "label" ? labelled(text) : { is: "like", column, text }));
    case "=":
    case "==":
      return any(value, (text) => ({ is: "same", column, text }));
    case "!=":
      return { is: "other", column, text: value.replaceAll('"', "") };
    default:
      throw new FilterError(`filter term ${repr(term)}: ${column} is text`, `Write ${column}:${value}`);
  }
}

function labelled(text: string): Clause {
  if (short(text) || text.includes("*")) return { is: "like", column: "label", text };
  return { is: "labelled", text };
}

/** Too short for the trigram index. */
const short = (text: string) => [...text].length < 3;

function word(text: string): Clause {
  return short(text) ? { is: "begins", column: "label", text } : { is: "word", text };
}

function flag(term: string, value: string): Clause {
  const found = FLAGS.find((name) => name === value);
  if (found) return { is: "flag", flag: found };
  const near = closest(value, FLAGS);
  const remedy = near ? `Use is:${near}` : `One of ${FLAGS.join(", ")}`;
  throw new FilterError(`filter term ${repr(term)}: unknown flag`, remedy);
}

/** Features whose gene list holds it; without lists, those with a top context near it. */
function gene(home: Home, symbol: string): Clause {
  if (home.tables.includes("feature_genes")) return { is: "listed", gene: symbol };
  return home.tables.includes("genes") ? { is: "near", gene: symbol } : { is: "nothing" };
}

/** Any of the comma-separated items; quotes keep commas. */
function any(value: string, one: (item: string) => Clause): Clause {
  const items = value.includes('"') ? [value.replaceAll('"', "")] : value.split(",");
  const clauses = items.filter((item) => item).map(one);
  if (!clauses.length) throw new FilterError(`${repr(value)} names nothing`);
  return clauses.length === 1 ? clauses[0]! : { is: "any", of: clauses };
}
