// Statistics of layers: what each is called, its values beside their null, as series of a drawing and
// as rows of a table.
import type { Series } from "../chart/charts";
import type { FigureData } from "../chart/figure";
import type { Form, Home, Measured } from "../data/format";
import { layerOf, layerWords } from "../data/names";
import { NONE, show } from "../ui/show";
import type { Cell } from "../ui/table";

export interface StatisticPoint {
  layer: number;
  value: number | null;
  lo: number | null;
  hi: number | null;
  null: number | null;
  nullLo: number | null;
  nullHi: number | null;
  n: number | null;
  /** What is said of this layer alone. */
  note?: string | null;
}

export interface Statistic {
  key: string;
  title: string;
  yLabel: string;
  xLabel?: string;
  form: Form;
  /** What its null is called. */
  nullName: string;
  note?: string;
  /** The word where there is no null or interval. */
  without: string;
  points: StatisticPoint[];
}

/** Nobody computed a null or an interval. */
export const UNTESTED = "not tested";
/** A count or a fit for which chance gives nothing. */
const DESCRIPTIVE = "descriptive";

/** One series a model, each with its null; shares in percent. */
export function seriesOf(home: Home, statistic: Statistic): Series[] {
  const scale = statistic.form === "share" ? 100 : 1,
    times = (v: number | null) => (v === null ? null : v * scale);
  const models = [...new Set(statistic.points.map((p) => layerOf(home, p.layer)?.model ?? null))];
  return models.flatMap((model) => {
    const own = statistic.points.filter((p) => (layerOf(home, p.layer)?.model ?? null) === model);
    const depth = (layer: number) => (model === null ? layer : (layerOf(home, layer)?.depth ?? layer));
    const named = (text: string) => (model === null ? text : `${model}${text === "value" ? "" : ` ${text}`}`);
    const out: Series[] = [];
    if (own.some((p) => p.value !== null)) {
      const name =
        model !== null ? named("value") : own.some((p) => p.null !== null) ? "trained model" : "value";
      out.push({
        name,
        role: "value",
        points: own.map((p) => ({ x: depth(p.layer), y: times(p.value), lo: times(p.lo), hi: times(p.hi) })),
      });
    }
    if (own.some((p) => p.null !== null)) {
      out.push({
        name: named(statistic.nullName),
        role: "null",
        points: own.map((p) => ({
          x: depth(p.layer),
          y: times(p.null),
          lo: times(p.nullLo),
          hi: times(p.nullHi),
        })),
      });
    }
    return out;
  });
}

/** A number in a form; what chance gives of a count need not be whole. */
export const inForm = (value: number | null | undefined, form: Form, none = NONE): string =>
  show(value, form === "count" && value != null && !Number.isInteger(value) ? "number" : form, none);

export const between = (lo: number | null, hi: number | null, form: Form, without: string): Cell => ({
  value: lo === null || hi === null ? null : `${lo} to ${hi}`,
  node: lo === null || hi === null ? without : `[${inForm(lo, form)}, ${inForm(hi, form)}]`,
});

/** The ends of an interval as two columns of numbers, so that a saved table can be read again. */
export const ends = (lo: number | null, hi: number | null, form: Form, without: string): Cell[] =>
  [lo, hi].map((value) => ({ value, node: inForm(value, form, without) }));

export function panelData(home: Home, statistic: Statistic): FigureData {
  const { form, nullName, without } = statistic;
  return {
    heads: [
      { head: "layer", form: "text" },
      { head: statistic.title, form },
      { head: "95 % low", form },
      { head: "95 % high", form },
      { head: `null: ${nullName || "none"}`, form },
      { head: "null 95 % low", form },
      { head: "null 95 % high", form },
      { head: "n", form: "count" },
    ],
    rows: statistic.points.map((p) => [
      layerWords(home, p.layer),
      p.value,
      ...ends(p.lo, p.hi, form, without),
      { value: p.null, node: inForm(p.null, form, without) },
      ...ends(p.nullLo, p.nullHi, form, without),
      p.n,
    ]),
  };
}

/** How a row of the table numbers is printed: a share of n things in percent, a count whole. */
export function formOf(rows: Measured[]): Form {
  if (rows.every((r) => r.n !== null && Math.abs(r.value) <= 1)) return "share";
  return rows.every((r) => Number.isInteger(r.value)) ? "count" : "number";
}

interface Known {
  name: string;
  title: string;
  form: Form;
  note: string;
}

/** Fields of a layer that have no interval and no null in the atlas, and what each means. */
const QUALITY: Known[] = [
  {
    name: "fvu",
    title: "FVU",
    form: "number",
    note: "share of the variance that the autoencoder does not explain, on held-out tokens",
  },
  { name: "l0", title: "L0", form: "number", note: "mean number of features that fire on a token" },
  {
    name: "dead",
    title: "Dead features",
    form: "share",
    note: "share of the dictionary that never fires on held-out tokens",
  },
  {
    name: "loss_recovered",
    title: "Loss recovered",
    form: "share",
    note: "of the loss between the model and one whose layer is replaced by its mean",
  },
  {
    name: "alive",
    title: "Alive features",
    form: "count",
    note: "features that fire often enough to be compared",
  },
  {
    name: "stable_fraction",
    title: "Stable features",
    form: "share",
    note: "share of alive features that autoencoders of other seeds find again",
  },
  {
    name: "published_fraction",
    title: "Significant by the published test",
    form: "share",
    note:
      "share of features that pass the test as published, which takes the windows of one pair of samples " +
      "for replicates",
  },
];

/** Every statistic that any layer has. */
export function statistics(home: Home, context: Statistic, numbers: Measured[]): Statistic[] {
  const out: Statistic[] = [];
  if (context.points.some((p) => p.value !== null)) out.push(context);
  for (const [key, rows] of groupBy(numbers.filter((n) => n.other_layer === null && n.layer !== null))) {
    const form = formOf(rows),
      first = rows[0]!;
    out.push({
      key,
      without: UNTESTED,
      title: first.name[0]!.toUpperCase() + first.name.slice(1),
      form,
      nullName: rows.some((r) => r.null !== null) ? "by chance" : "",
      yLabel: form === "share" ? `% of ${first.unit ?? "features"}` : first.name,
      // What is said of one layer alone stands in that layer's table.
      note: [
        rows.every((r) => r.note === first.note) ? first.note : null,
        rows.some((r) => r.null !== null) ? null : "null: not tested",
      ]
        .filter(Boolean)
        .join("; "),
      points: rows.map((r) => ({
        layer: r.layer!,
        value: r.value,
        lo: r.lo,
        hi: r.hi,
        null: r.null,
        nullLo: null,
        nullHi: null,
        n: r.n,
        note: r.note,
      })),
    });
  }
  for (const kind of home.kinds) {
    if (!home.layers.some((l) => l.annotated[kind.name])) continue;
    out.push({
      key: `annotated ${kind.name}`,
      without: UNTESTED,
      title: `Annotated with ${kind.many}`,
      form: "share",
      nullName: "",
      yLabel: "% of alive features",
      note: `share of alive features enriched for any of the ${kind.many}; the share's null: not tested`,
      points: home.layers.map((l) => {
        const n = l.values["alive"] ?? l.size,
          k = l.annotated[kind.name];
        return { ...EMPTY, layer: l.layer, value: k === undefined || !n ? null : k / n, n };
      }),
    });
  }
  for (const { name, title, form, note } of QUALITY) {
    const points = home.layers.map((l) => ({ ...EMPTY, layer: l.layer, value: l.values[name] ?? null }));
    if (points.some((p) => p.value !== null)) {
      out.push({
        key: name,
        title,
        form,
        nullName: "",
        yLabel: form === "share" ? "%" : title,
        without: DESCRIPTIVE,
        note,
        points,
      });
    }
  }
  return out;
}

const EMPTY = { value: null, lo: null, hi: null, null: null, nullLo: null, nullHi: null, n: null };

/** Rows that are drawn together: of one name, and of one note where a layer has several. */
function groupBy(rows: Measured[]): Map<string, Measured[]> {
  const several = new Set<string>(),
    seen = new Set<string>();
  for (const { name, layer } of rows) {
    if (seen.has(`${name} ${layer}`)) several.add(name);
    seen.add(`${name} ${layer}`);
  }
  const out = new Map<string, Measured[]>();
  for (const row of rows) {
    const key = several.has(row.name) ? `${row.name} ${row.note ?? ""}` : row.name;
    out.set(key, [...(out.get(key) ?? []), row]);
  }
  return out;
}
