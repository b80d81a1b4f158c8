// Ablation and steering curves with every arm, so that an effect is always seen beside its controls:
// as the terminal UI's page Causal.
import { Lines, type Series } from "../chart/charts";
import { Figure, type FigureData } from "../chart/figure";
import { json } from "../data/chunk";
import { valueAt } from "../data/columns";
import { columnsOf } from "../data/feature";
import type { CurvePoint, Curves, Home } from "../data/format";
import { layerWords } from "../data/names";
import { useAsked } from "../data/use";
import { href, withQuery, type Route } from "../route";
import { Choices } from "../ui/choices";
import { Empty, Loaded } from "../ui/parts";
import { grouped, number, show } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";
import { tick } from "../chart/frame";
import type { PageOf, PageProps } from "./page";
import { FeatureTable } from "./found";
import { ends, UNTESTED } from "./statistics";

type Analysis = keyof Curves;
const WIDTH = 680,
  HEIGHT = 340;
/** Arms that stand for chance, the one that others are compared with first. */
const RIVALS = ["matched_random", "random", "norm_matched_random", "random_direction"];
const AXIS: Record<Analysis, { x: string; y: string; what: string }> = {
  ablation: {
    x: "k, features taken out",
    y: "change of the output",
    what: "Ablation: what changes when features are taken out",
  },
  steering: {
    x: "alpha, strength",
    y: "gap closed",
    what: "Steering: how far a push along features closes the gap",
  },
};

function Page({ home, route }: PageProps) {
  const wanted = home.has.includes("curves");
  const asked = useAsked(wanted ? "curves" : null, () => json<Curves>("curves"));
  const alone = tried(home);
  return (
    <>
      <h1>Causal experiments</h1>
      {wanted ? (
        <Loaded asked={asked} what="the curves">
          {(curves) => <Analyses home={home} route={route} curves={curves} />}
        </Loaded>
      ) : null}
      {alone.length ? <Alone home={home} names={alone} /> : null}
      {wanted || alone.length ? null : (
        <Empty
          why={
            home.empty["causal"] ??
            "No causal experiment is in this atlas; the stages ablation and steering make them."
          }
        />
      )}
    </>
  );
}

/** Columns of what switching a feature off alone does: the percentile, then the study's own. */
const SINGLE = ["causal_percentile", "causal_effect", "specificity", "specificity_low", "specificity_high"];
const tried = (home: Home): string[] =>
  home.columns.some((c) => c.name.startsWith("causal_") && c.filled)
    ? SINGLE.filter((name) => home.columns.some((c) => c.name === name && c.filled))
    : [];

/** Features that were switched off alone, those that do most beside random features first. */
function Alone({ home, names }: { home: Home; names: string[] }) {
  const asked = useAsked("single", () => columnsOf(home, names));
  return (
    <section>
      <h2>Features switched off alone</h2>
      <Loaded asked={asked} what="what single features do">
        {(found) => {
          const own = names.map((name) => found[name]!);
          const value = (at: number, row: number) => valueAt(own[at]!, row) as number | null;
          const rows = Array.from({ length: home.total }, (_, row) => row)
            .filter((row) => own.some((_, at) => value(at, row) !== null))
            .sort((a, b) => (value(0, b) ?? -1) - (value(0, a) ?? -1) || a - b);
          return (
            <>
              <p class="note">
                {grouped(rows.length)} of {grouped(home.total)} features were tried.{" "}
                {own.map(({ column }) => `${column.head}: ${column.text}`).join("; ")}.{" "}
                {home.counts.causal ? (
                  <a href={href(["features"], { f: "is:causal" })}>
                    {grouped(home.counts.causal)} beat {show(home.thresholds.causal, "share")} of random features
                  </a>
                ) : (
                  `None beats ${show(home.thresholds.causal, "share")} of random features`
                )}
                .
              </p>
              <FeatureTable
                home={home}
                caption="Each feature beside random ones"
                rows={rows}
                extra={own.map((values) => ({
                  head: { head: values.column.head, form: values.column.form, text: values.column.text },
                  values: rows.map((row) => valueAt(values, row)),
                }))}
              />
            </>
          );
        }}
      </Loaded>
    </section>
  );
}

function Analyses({ home, route, curves }: { home: Home; route: Route; curves: Curves }) {
  const names: Analysis[] = ["ablation", "steering"];
  const layers = unique(names.flatMap((n) => curves[n].map((p) => p.layer)));
  const layer = layers.find((l) => String(l) === route.query["l"]) ?? layers[0] ?? null;
  const strata = unique(
    names.flatMap((n) => curves[n].filter((p) => p.layer === layer).map((p) => p.lineage)),
  );
  const stratum = strata.find((s) => s === route.query["g"]) ?? strata[0] ?? null;
  if (layers.length === 0) return <Empty why={home.empty["causal"] ?? "No curve is in this atlas."} />;
  return (
    <>
      <p class="lead">
        Each curve stands beside its controls: arms drawn at random are dashed and grey. A point is read
        against the random arm at the same place.
      </p>
      <Choices
        label="layer"
        choices={layers.map((l) => ({
          text: l === null ? "all layers" : layerWords(home, l),
          href: withQuery(route, { l, g: null }),
          on: l === layer,
        }))}
      />
      <Choices
        label={home.words.stratum}
        choices={strata.map((s) => ({
          text: s ?? "all together",
          href: withQuery(route, { g: s }),
          on: s === stratum,
        }))}
      />
      <div class="pair">
        {names.map((name) => (
          <Curve key={name} home={home} name={name} {...chosen(curves[name], layer, stratum)} />
        ))}
      </div>
    </>
  );
}

const unique = <T extends string | number | null>(values: T[]): T[] =>
  [...new Set(values)].sort((a, b) => (a === null ? -1 : b === null ? 1 : a < b ? -1 : 1));

/** Points of the layer and stratum asked for, or of the first that has any, as the terminal UI does. */
function chosen(
  points: CurvePoint[],
  layer: number | null,
  stratum: string | null,
): { points: CurvePoint[]; layer: number | null; stratum: string | null } {
  const at = points.some((p) => p.layer === layer) ? layer : (points[0]?.layer ?? null);
  const own = points.filter((p) => p.layer === at);
  const group = own.some((p) => p.lineage === stratum)
    ? stratum
    : (unique(own.map((p) => p.lineage))[0] ?? null);
  return { points: own.filter((p) => p.lineage === group), layer: at, stratum: group };
}

const said = (arm: string): string => arm.replaceAll("_", " ");
const byChance = (arm: string): boolean => /random|shuffl|null/.test(arm);

function Curve({
  home,
  name,
  points,
  layer,
  stratum,
}: {
  home: Home;
  name: Analysis;
  points: CurvePoint[];
  layer: number | null;
  stratum: string | null;
}) {
  const { x, y, what } = AXIS[name];
  if (points.length === 0) {
    return (
      <section>
        <h2>{what}</h2>
        <Empty why={`No ${name} is in this atlas; the stage ${name} makes it.`} />
      </section>
    );
  }
  const arms = [...new Set(points.map((p) => p.arm))].sort(
    (a, b) => Number(byChance(a)) - Number(byChance(b)) || (a < b ? -1 : 1),
  );
  const series: Series[] = arms.map((arm) => ({
    name: said(arm),
    role: byChance(arm) ? "null" : "value",
    points: points
      .filter((p) => p.arm === arm)
      .sort((a, b) => a.x - b.x)
      .map((p) => ({ x: p.x, y: p.estimate, lo: p.lo, hi: p.hi })),
  }));
  const of = [layer === null ? "" : layerWords(home, layer), stratum ?? ""].filter(Boolean).join(", ");
  const rival = RIVALS.find((arm) => arms.includes(arm)) ?? null,
    data = pointTable(points, arms, rival, name);
  return (
    <section>
      <h2>{what}</h2>
      <Figure
        home={home}
        name={`${name}-${of}`}
        title={`${name[0]!.toUpperCase()}${name.slice(1)}${of ? `, ${of}` : ""}`}
        width={WIDTH}
        height={HEIGHT}
        data={data}
        alt={`Curves of ${arms.length} arms: ${arms.map(said).join(", ")}.`}
        note="Bands are 95 % intervals where they were computed."
      >
        <Lines width={WIDTH} height={HEIGHT} series={series} xLabel={x} yLabel={y} baseline={0} />
      </Figure>
      <Table caption={`Every point of ${name}${of ? `, ${of}` : ""}`} heads={data.heads} rows={data.rows} />
    </section>
  );
}

/** Every point with its interval and what it is more than the random arm at the same place. */
function pointTable(points: CurvePoint[], arms: string[], rival: string | null, name: Analysis): FigureData {
  const rivals = new Map(points.filter((p) => p.arm === rival).map((p) => [p.x, p.estimate]));
  const heads: Head[] = [
    { head: "arm", form: "text" },
    { head: name === "ablation" ? "k" : "alpha", form: "number" },
    { head: "estimate", form: "number" },
    { head: "95 % low", form: "number" },
    { head: "95 % high", form: "number" },
    { head: `minus ${said(rival ?? "random")}`, form: "number" },
    { head: "n", form: "count" },
  ];
  const rows = [...points]
    .sort((a, b) => arms.indexOf(a.arm) - arms.indexOf(b.arm) || a.x - b.x)
    .map((p): Cell[] => {
      const control = rivals.get(p.x) ?? null,
        over = control === null || p.estimate === null || p.arm === rival ? null : p.estimate - control;
      return [
        said(p.arm),
        { value: p.x, node: tick(p.x) },
        p.estimate,
        ...ends(p.lo, p.hi, "number", UNTESTED),
        { value: over, node: p.arm === rival ? "the control" : over === null ? UNTESTED : signed(over) },
        { value: p.n, node: show(p.n, "count") },
      ];
    });
  return { heads, rows };
}

const signed = (value: number): string => `${value < 0 ? "-" : "+"}${number(Math.abs(value))}`;

export const causal: PageOf = { path: "causal", nav: "Causal", title: () => "Causal experiments", Page };
