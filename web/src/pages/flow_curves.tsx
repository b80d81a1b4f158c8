// Curves over pairs of neighboring layers: features found again, and every number that several pairs have, beside
// the null where there is one.
import { Lines, type Series } from "../chart/charts";
import { Figure } from "../chart/figure";
import type { Home, Measured } from "../data/format";
import { layerOf, layerWords } from "../data/names";
import { bound } from "../ui/show";
import type { Cell, Head } from "../ui/table";
import { besideInterval, shown, UNTESTED, wilson } from "./network";

const WIDTH = 860,
  HEIGHT = 280;
/** Ticks of the pairs at most. */
const TICKS = 12;

export function Curves({ home, measured }: { home: Home; measured: Measured[] }) {
  const rows = [...continued(home), ...measured].filter((n) => n.other_layer === n.layer! + 1);
  const names = [...new Set(rows.map((n) => n.name))].filter(
    (name) => rows.filter((n) => n.name === name).length > 1,
  );
  if (!names.length) return null;
  return (
    <section>
      <h2>From layer to layer</h2>
      {names.map((name) => (
        <Curve key={name} home={home} rows={rows.filter((n) => n.name === name)} />
      ))}
    </section>
  );
}

/** Shares of features with a decoder match, of the pairs of which that is known. */
function continued(home: Home): Measured[] {
  return home.flow
    .filter((f) => f.features > 0)
    .map((f) => {
      const limits = wilson(f.continued, f.features)!;
      return {
        name: "features continued",
        layer: f.layer,
        other_layer: f.other_layer,
        value: f.continued / f.features,
        lo: limits[0],
        hi: limits[1],
        null: null,
        n: f.features,
        unit: "features",
        note:
          `best decoder match has a cosine of ${bound(home.thresholds.stable)} at least; ` +
          "interval binomial (Wilson), computed in this page",
      };
    });
}

function Curve({ home, rows }: { home: Home; rows: Measured[] }) {
  const ordered = [...rows].sort((x, y) => x.layer! - y.layer! || x.other_layer! - y.other_layer!);
  const tested = ordered.some((n) => n.null !== null);
  const place = new Map(ordered.map((n, i) => [n, i]));
  const parts = models(home, ordered);
  const series: Series[] = parts.map(([name, part]) => ({
    name,
    role: "value",
    points: part.map((n) => ({ x: place.get(n)!, y: n.value, lo: n.lo, hi: n.hi })),
  }));
  if (tested) {
    for (const [name, part] of parts) {
      series.push({
        name: parts.length > 1 ? `null, ${name}` : "null",
        role: "null",
        points: part.map((n) => ({ x: place.get(n)!, y: n.null })),
      });
    }
  }
  const first = ordered[0]!,
    last = ordered.at(-1)!,
    name = first.name;
  const heads: Head[] = [
    { head: "from", form: "text" },
    { head: "to", form: "text" },
    { head: name, form: "number" },
    { head: "95 % interval", form: "text" },
    { head: "null", form: "number" },
    { head: "n", form: "count" },
    { head: "note", form: "text" },
  ];
  const cells: Cell[][] = ordered.map((n) => [
    layerWords(home, n.layer!),
    layerWords(home, n.other_layer!),
    { value: n.value, node: shown(n, n.value) },
    besideInterval(n),
    { value: n.null, node: n.null === null ? UNTESTED : shown(n, n.null) },
    n.n,
    n.note,
  ]);
  const said = common(ordered.map((n) => n.note ?? ""));
  return (
    <Figure
      home={home}
      name={`flow-${name.replace(/\W+/g, "-")}`}
      width={WIDTH}
      height={HEIGHT}
      title={`${name[0]!.toUpperCase()}${name.slice(1)} from each layer to the next`}
      alt={
        `${name} of ${ordered.length} pairs of neighboring layers, from ${shown(first, first.value)} to ` +
        `${shown(last, last.value)}; null ${tested ? "dashed" : UNTESTED}.`
      }
      note={`${said}${said ? ". " : ""}${tested ? "Dashed: the null." : `Null: ${UNTESTED}.`}`}
      data={{ heads, rows: cells }}
    >
      <Lines
        width={WIDTH}
        height={HEIGHT}
        series={series}
        xLabel="pair of layers"
        yLabel={name}
        xTicks={ordered
          .map((n, i) => ({ at: i, text: pair(home, n) }))
          .filter((_, i) => i % Math.ceil(ordered.length / TICKS) === 0)}
      />
    </Figure>
  );
}

/** What the notes of all rows share, clause by clause. */
function common(notes: string[]): string {
  const clauses = notes.map((note) => note.split("; "));
  return clauses[0]!.filter((clause) => clauses.every((other) => other.includes(clause))).join("; ");
}

/** "3→4", with the model's own numbers where there are several models. */
function pair(home: Home, row: Measured): string {
  const depth = (layer: number) => layerOf(home, layer)?.depth ?? layer;
  return `${depth(row.layer!)}→${depth(row.other_layer!)}`;
}

/** Rows by model, where there are several. */
function models(home: Home, rows: Measured[]): [string, Measured[]][] {
  const found = new Map<string, Measured[]>();
  for (const row of rows) {
    const name = layerOf(home, row.layer!)?.model ?? row.name;
    found.set(name, [...(found.get(name) ?? []), row]);
  }
  return [...found];
}
