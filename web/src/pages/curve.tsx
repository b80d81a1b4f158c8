// The curve of the layers beside its null: context features where two conditions are compared, else
// annotated features where the run measured them.
import { Lines, type Series } from "../chart/charts";
import { Figure } from "../chart/figure";
import { json } from "../data/chunk";
import type { Home, Layer, Measured, Numbers } from "../data/format";
import { useAsked } from "../data/use";
import { Empty, Loaded } from "../ui/parts";
import { bound } from "../ui/show";
import { panelData, seriesOf, UNTESTED, type Statistic } from "./statistics";

const WIDTH = 760,
  HEIGHT = 300;

export function LayerCurve({ home }: { home: Home }) {
  const contrasted = home.layers.some((l) => l.values["fraction"] != null);
  const wanted = !contrasted && home.has.includes("numbers");
  const asked = useAsked(wanted ? "numbers" : null, () => json<Numbers>("numbers"));
  if (contrasted) return <Curve home={home} statistic={context(home)} />;
  if (!wanted)
    return (
      <Empty why={home.empty["layers"] ?? "No share of features was measured by layer in this atlas."} />
    );
  return (
    <Loaded asked={asked} what="the numbers of the layers">
      {(numbers) => {
        const found = numbers.filter((n) => n.name === "annotated" && n.other_layer === null);
        return found.length ? (
          <Curve home={home} statistic={annotated(found)} />
        ) : (
          <Empty why="No share of features was measured by layer in this atlas." />
        );
      }}
    </Loaded>
  );
}

function Curve({ home, statistic }: { home: Home; statistic: Statistic }) {
  const series: Series[] = seriesOf(home, statistic);
  return (
    <Figure
      home={home}
      name="layer-curve"
      title={`${statistic.title} by layer`}
      alt={`${statistic.title} by layer, each value beside its null; the data table has the numbers.`}
      note={statistic.note}
      data={panelData(home, statistic)}
      width={WIDTH}
      height={HEIGHT}
    >
      <Lines
        width={WIDTH}
        height={HEIGHT}
        series={series}
        xLabel={statistic.xLabel ?? "layer"}
        yLabel={statistic.yLabel}
        baseline={0}
      />
    </Figure>
  );
}

/** The share of context features with the same share in a randomly initialized model. */
export function context(home: Home): Statistic {
  const get = (name: string) => (l: Layer) => l.values[name] ?? null;
  return {
    key: "fraction",
    title: "Context features",
    yLabel: "% of alive features",
    form: "share",
    without: UNTESTED,
    nullName: "randomly initialized",
    note:
      `Context: q < ${bound(home.thresholds.alpha)} (Benjamini–Hochberg over all layers). Bands are 95 % ` +
      "intervals. Null: the same analysis of a randomly initialized model.",
    points: home.layers.map((l) => ({
      layer: l.layer,
      value: get("fraction")(l),
      lo: get("lo")(l),
      hi: get("hi")(l),
      null: get("random_init_fraction")(l),
      nullLo: get("random_init_lo")(l),
      nullHi: get("random_init_hi")(l),
      n: get("alive")(l),
    })),
  };
}

function annotated(found: Measured[]): Statistic {
  return {
    key: "annotated",
    title: "Annotated features",
    yLabel: "% of alive features",
    form: "share",
    without: UNTESTED,
    nullName: "by chance",
    note: `${found[0]!.note ?? ""}${found.some((n) => n.null !== null) ? "" : "; the null was not tested"}`,
    points: found.map((n) => ({
      layer: n.layer ?? 0,
      value: n.value,
      lo: n.lo,
      hi: n.hi,
      null: n.null,
      nullLo: null,
      nullHi: null,
      n: n.n,
    })),
  };
}
