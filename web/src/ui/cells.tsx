// Cells of tables that are more than a value.
import type { Form } from "../data/format";
import { href } from "../route";
import { interval } from "./show";
import type { Cell } from "./table";

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
