// All layers: one small panel per statistic, value beside its null, and the table of all numbers.
import { Lines } from "../chart/charts";
import { Figure } from "../chart/figure";
import { json } from "../data/chunk";
import type { Home, Layer, Measured, Numbers } from "../data/format";
import { layerWords } from "../data/names";
import { useAsked } from "../data/use";
import { href } from "../route";
import { Empty, Loaded } from "../ui/parts";
import { NONE } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";
import { context } from "./curve";
import type { PageOf, PageProps } from "./page";
import { formOf, inForm, panelData, seriesOf, statistics, type Statistic } from "./statistics";

const WIDTH = 440,
  HEIGHT = 230;

function Page({ home }: PageProps) {
  const wanted = home.has.includes("numbers");
  const asked = useAsked(wanted ? "numbers" : null, () => json<Numbers>("numbers"));
  return (
    <>
      <h1>Layers</h1>
      {home.layers.length === 0 ? <Empty why={home.empty["layers"] ?? "This atlas has no layer."} /> : null}
      {wanted ? (
        <Loaded asked={asked} what="the numbers of the layers">
          {(numbers) => <All home={home} numbers={numbers} />}
        </Loaded>
      ) : (
        <All home={home} numbers={[]} />
      )}
    </>
  );
}

function All({ home, numbers }: { home: Home; numbers: Measured[] }) {
  const all = statistics(home, context(home), numbers);
  return (
    <>
      {all.length ? (
        <p class="lead">
          Solid lines are values, with their 95 % band where one was measured; dashed grey lines are what the
          null gives. A layer's name in the table opens its page.
        </p>
      ) : (
        <Empty why="No statistic of layers is in this atlas; the stages sae and cds measure them." />
      )}
      <div class="panels">
        {all.map((s) => (
          <Panel key={s.key} home={home} statistic={s} />
        ))}
      </div>
      <h2>Table</h2>
      <LayerTable home={home} all={all} />
      <Pairs home={home} numbers={numbers.filter((n) => n.other_layer !== null)} />
      <Whole numbers={numbers.filter((n) => n.layer === null)} />
    </>
  );
}

function Panel({ home, statistic }: { home: Home; statistic: Statistic }) {
  const bottom = statistic.form === "share" || statistic.form === "count" ? 0 : undefined;
  return (
    <Figure
      home={home}
      name={`layers-${statistic.key}`}
      title={statistic.title}
      width={WIDTH}
      height={HEIGHT}
      data={panelData(home, statistic)}
      note={statistic.note}
      alt={`${statistic.title} by layer, null: ${statistic.nullName || "none"}; numbers in the data table.`}
    >
      <Lines
        width={WIDTH}
        height={HEIGHT}
        series={seriesOf(home, statistic)}
        xLabel="layer"
        yLabel={statistic.yLabel}
        baseline={bottom}
      />
    </Figure>
  );
}

/** A row a layer; a value with its interval, then its null. */
function LayerTable({ home, all }: { home: Home; all: Statistic[] }) {
  const heads: Head[] = [
    { head: "layer", form: "text" },
    { head: "features", form: "count" },
  ];
  for (const s of all) {
    heads.push({ head: s.title, form: s.form, text: s.note });
    if (s.nullName) heads.push({ head: `null: ${s.nullName}`, form: s.form, text: s.note });
  }
  const rows = home.layers.map((l) => [link(home, l), l.size, ...all.flatMap((s) => cells(s, l.layer))]);
  return (
    <Table caption="Statistics of every layer, with 95 % intervals in brackets" heads={heads} rows={rows} />
  );
}

const link = (home: Home, l: Layer): Cell => ({
  value: layerWords(home, l.layer),
  node: (
    <a class="short" href={href(["layer", l.layer])}>
      {layerWords(home, l.layer)}
    </a>
  ),
});

function cells(s: Statistic, layer: number): Cell[] {
  const p = s.points.find((point) => point.layer === layer);
  return s.nullName
    ? [ranged(p?.value, p?.lo, p?.hi, s), ranged(p?.null, p?.nullLo, p?.nullHi, s, "not tested")]
    : [ranged(p?.value, p?.lo, p?.hi, s)];
}

function ranged(
  value: number | null | undefined,
  lo: number | null | undefined,
  hi: number | null | undefined,
  s: Statistic,
  none = NONE,
): Cell {
  const known = lo !== null && lo !== undefined && hi !== null && hi !== undefined;
  return {
    value: value ?? null,
    node: `${inForm(value, s.form, none)}${known ? ` [${inForm(lo, s.form)}, ${inForm(hi, s.form)}]` : ""}`,
  };
}

function Pairs({ home, numbers }: { home: Home; numbers: Measured[] }) {
  if (numbers.length === 0) return null;
  return (
    <>
      <h2>Pairs of layers</h2>
      <NumberTable
        caption="What was measured of pairs of layers"
        heads={["from", "to"]}
        numbers={numbers}
        first={(n) => [layerWords(home, n.layer ?? 0), layerWords(home, n.other_layer ?? 0)]}
      />
    </>
  );
}

function Whole({ numbers }: { numbers: Measured[] }) {
  if (numbers.length === 0) return null;
  return (
    <>
      <h2>All layers together</h2>
      <NumberTable
        caption="What was measured of the run as a whole"
        heads={[]}
        numbers={numbers}
        first={() => []}
      />
    </>
  );
}

/** Rows of the table numbers; each says what chance gives, or that it was not tested. */
export function NumberTable({
  caption,
  heads,
  numbers,
  first,
}: {
  caption: string;
  heads: string[];
  numbers: Measured[];
  first: (n: Measured) => Cell[];
}) {
  const columns: Head[] = [
    { head: "measured", form: "text" },
    ...heads.map((head) => ({ head, form: "text" as const })),
    { head: "value", form: "number" },
    { head: "95 %", form: "text" },
    { head: "by chance", form: "number" },
    { head: "n", form: "count" },
    { head: "of", form: "text" },
    { head: "note", form: "text" },
  ];
  return (
    <Table
      caption={caption}
      heads={columns}
      limit={400}
      rows={numbers.map((n) => {
        const form = formOf([n]),
          known = n.lo !== null && n.hi !== null;
        return [
          n.name,
          ...first(n),
          { value: n.value, node: inForm(n.value, form) },
          {
            value: known ? `${n.lo} to ${n.hi}` : null,
            node: known ? `[${inForm(n.lo, form)}, ${inForm(n.hi, form)}]` : "not tested",
          },
          { value: n.null, node: inForm(n.null, form, "not tested") },
          n.n,
          n.unit,
          n.note,
        ];
      })}
    />
  );
}

export const layers: PageOf = { path: "layers", nav: "Layers", title: () => "Layers", Page };
