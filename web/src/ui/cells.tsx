// Cells of tables that are more than a value.
import type { Form } from "../data/format";
import { href } from "../route";
import { interval } from "./show";
import { valueOf, type Cell, type Head } from "./table";

/** An interval that stays in one line. */
export function between(lo: number | null, hi: number | null, form: Form = "number"): Cell {
  const text = interval(lo, hi, form);
  return { value: text, node: <span class="one-line">{text}</span> };
}

/** A p or q that was not computed says so. */
export const tested = (value: number | null): Cell => value ?? { value: null, node: "not tested" };

/** A gene that opens its page. */
export const geneCell = (gene: string): Cell => ({
  value: gene,
  node: <a href={href(["gene", gene])}>{gene}</a>,
});

/** A table without the columns in which no row has a value: what a study does not measure. */
export function filled(heads: Head[], rows: Cell[][]): { heads: Head[]; rows: Cell[][] } {
  const kept = heads.map((_, i) => rows.some((row) => valueOf(row[i] ?? null) !== null));
  const keep = <T,>(list: T[]) => list.filter((_, i) => kept[i]);
  return { heads: keep(heads), rows: rows.map(keep) };
}
