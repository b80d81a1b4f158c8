// What the pages of modules, flow, graph and perturbations share: layers by name, numbers of the
// table numbers beside their null, binomial intervals.
import type { Home, Measured, Module } from "../data/format";
import { layerWords } from "../data/names";
import { href } from "../route";
import { interval, NONE, show } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";

/** In a cell whose null or interval nobody computed. */
export const UNTESTED = "not tested";

/** What each graph of features joins; a graph without an entry is shown by its name alone. */
const GRAPHS: Record<string, string> = {
  pmi:
    "pairs that fire together more often than if they knew nothing of each other (pointwise mutual " +
    "information, " +
    "as published); two features of one gene do so without any context",
  gene: "pairs that fire together more often than the genes of their tokens give",
  gene_celltype:
    "pairs that fire together more often than the genes of their tokens give within each cell type",
  phi: "pairs whose firing is correlated over all tokens",
};

export const aboutGraph = (graph: string): string => GRAPHS[graph] ?? "";

export const moduleHref = (graph: string, layer: number, module: number): string =>
  href(["module", `${graph}/${layer}/${module}`]);

/** The page of a term of a kind of annotation. */
export const termHref = (kind: string, term: string): string => href(["term", `${kind}:${term}`]);

/** The graph whose modules the column "module" holds: beyond genes where there is such a graph. */
export function columnGraph(home: Home): string | undefined {
  const graphs = home.modules.map(([graph]) => graph);
  return graphs.includes("gene") ? "gene" : graphs[0];
}

/** A module's most telling term: the least p among those seen more often than chance gives. */
export function topTerm(module: Module): Module["terms"][number] | undefined {
  return module.terms.filter((t) => t[2] > t[4]).sort((a, b) => a[5] - b[5])[0];
}

/** How a number of the table numbers is printed: shares of n things in percent, others as they are. */
export function shown(row: Measured, value: number | null): string {
  if (value === null) return NONE;
  if (row.n !== null && Math.abs(row.value) <= 1) return show(value, "share");
  return Number.isInteger(value) ? show(value, "count") : show(value, "number");
}

/** The interval of a number, or the word why there is none. */
export const besideInterval = (row: Measured): string =>
  row.lo === null || row.hi === null ? UNTESTED : `[${shown(row, row.lo)}, ${shown(row, row.hi)}]`;

const HEADS: Head[] = [
  { head: "measured", form: "text" },
  { head: "where", form: "text" },
  { head: "value", form: "number" },
  { head: "95 % interval", form: "text" },
  { head: "null", form: "text", text: "what chance gives" },
  { head: "n", form: "count" },
  { head: "of", form: "text" },
  { head: "note", form: "text" },
];

/** Rows of the table numbers with interval and null, each or the word why not. */
export function measuredTable(home: Home, rows: Measured[]): { heads: Head[]; rows: Cell[][] } {
  return {
    heads: HEADS,
    rows: rows.map((row) => [
      row.name,
      row.layer === null
        ? "the run"
        : row.other_layer === null
          ? layerWords(home, row.layer)
          : `${layerWords(home, row.layer)} to ${layerWords(home, row.other_layer)}`,
      { value: row.value, node: shown(row, row.value) },
      besideInterval(row),
      { value: row.null, node: row.null === null ? UNTESTED : shown(row, row.null) },
      row.n,
      row.unit,
      row.note,
    ]),
  };
}

export function Measures({ home, rows, caption }: { home: Home; rows: Measured[]; caption: string }) {
  if (!rows.length) return null;
  const table = measuredTable(home, rows);
  return <Table caption={caption} heads={table.heads} rows={table.rows} />;
}

/** 95 % interval of a binomial share k / n (Wilson 1927, without continuity correction). */
export function wilson(k: number, n: number): [number, number] | null {
  if (n <= 0) return null;
  const z = 1.959963984540054,
    p = k / n,
    z2 = z * z;
  const middle = (p + z2 / (2 * n)) / (1 + z2 / n);
  const half = (z / (1 + z2 / n)) * Math.sqrt((p * (1 - p)) / n + z2 / (4 * n * n));
  // the ends are exact where nothing or everything counts
  return [k === 0 ? 0 : Math.max(0, middle - half), k === n ? 1 : Math.min(1, middle + half)];
}

/** "3 of 12 (25.0 % [8.9 %, 53.2 %])" */
export function share(k: number, n: number): string {
  const limits = wilson(k, n);
  if (!limits) return `${show(k, "count")} of 0`;
  return (
    `${show(k, "count")} of ${show(n, "count")} (${show(k / n, "share")} ` +
    `${interval(limits[0], limits[1], "share")})`
  );
}
