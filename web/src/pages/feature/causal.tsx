// What ablating or scaling a feature alone does, beside random directions of equal size.
import { Lines, type Series } from "../../chart/charts";
import { Figure } from "../../chart/figure";
import type { CurvePoint, Feature, Home } from "../../data/format";
import { nameOf } from "../../data/names";
import { number, show } from "../../ui/show";
import { ranged, type Ranged } from "./ranged";

const real = (value: number | string | null | undefined) => (typeof value === "number" ? value : null);

/** Order of arms: what the claim is about first, its rivals next, random and reconstruction controls
 * last. */
export function armRank(arm: string): 0 | 1 | 2 {
  if (arm === "cds" || arm === "sae_additive" || arm === "this feature") return 0;
  return /random|reconstruction|shuffle/.test(arm) ? 2 : 1;
}

export function Causal({ home, feature }: { home: Home; feature: Feature }) {
  const effect = real(feature.values["causal_effect"]),
    percentile = real(feature.values["causal_percentile"]);
  const any =
    effect !== null || percentile !== null || feature.ablation.length > 0 || feature.steering.length > 0;
  if (!any && !home.columns.some((c) => c.name.startsWith("causal_") && c.filled)) return null;
  return (
    <section aria-labelledby="causal">
      <h2 id="causal">Causal effect</h2>
      {any ? (
        <Alone
          home={home}
          effect={effect}
          percentile={percentile}
          ranged={ranged(home, feature, SPECIFICITY)}
        />
      ) : (
        <p class="empty">
          Not measured for this feature: single features are ablated among the strongest only.
        </p>
      )}
      <div class="pair">
        {feature.ablation.length ? (
          <Curve
            home={home}
            feature={feature}
            points={feature.ablation}
            name="ablation"
            title="Ablation of this feature"
            xLabel="features ablated"
            yLabel="mean |change of prediction|"
          />
        ) : null}
        {feature.steering.length ? (
          <Curve
            home={home}
            feature={feature}
            points={feature.steering}
            name="scaling"
            title="Scaling of this feature"
            xLabel="its activation times (0 ablates)"
            yLabel="change of prediction"
          />
        ) : feature.ablation.length ? (
          <p class="note">Scaling: not measured for this feature.</p>
        ) : null}
      </div>
    </section>
  );
}

const WIDE = 480;

/** Columns of a study's own effect and of its interval. */
const SPECIFICITY = ["specificity", "specificity_low", "specificity_high"] as const;

/** The effect, and its place among those of random directions on a ruler from 0 to 100 %. */
function Alone({
  home,
  effect,
  percentile,
  ranged,
}: {
  home: Home;
  effect: number | null;
  percentile: number | null;
  ranged: Ranged | null;
}) {
  const percent = `${Number((100 * home.thresholds.causal).toPrecision(6))} %`;
  const needed = home.thresholds.causal,
    place = percentile === null ? null : Math.min(Math.max(percentile, 0), 1) * WIDE;
  const told =
    percentile === null
      ? "not measured"
      : `beats ${show(percentile, "share")} of random directions of equal size`;
  return (
    <>
      <dl class="facts">
        <dt>alone</dt>
        <dd>
          {effect === null ? "its size is not stored" : `${number(effect)} mean |change of prediction|`}
        </dd>
        {ranged ? (
          <>
            <dt>{ranged.head}</dt>
            <dd>{ranged.told}</dd>
          </>
        ) : null}
        <dt>null</dt>
        <dd>{told}</dd>
      </dl>
      {place === null ? null : (
        <svg
          class="ruler"
          viewBox={`-20 0 ${WIDE + 40} 36`}
          width={WIDE + 40}
          height={36}
          role="img"
          aria-label={`${told}; ${percent} are asked`}
        >
          <g stroke="currentColor">
            <line x1={0} x2={WIDE} y1={10} y2={10} stroke-width={1} opacity={0.6} />
            <line
              x1={needed * WIDE}
              x2={needed * WIDE}
              y1={2}
              y2={18}
              stroke-width={1.5}
              stroke-dasharray="3 2"
            />
            <circle cx={place} cy={10} r={4.5} fill="currentColor" />
          </g>
          <g class="axis">
            <text x={0} y={32}>
              0 %
            </text>
            <text x={needed * WIDE} y={32} text-anchor="middle">
              {percent} asked
            </text>
          </g>
        </svg>
      )}
    </>
  );
}

const said = ({ name, points }: Series) =>
  `${name}: ${points.map((p) => `${number(p.x)} ${show(p.y, "number")}`).join(", ")}`;

function Curve({
  home,
  feature,
  points,
  name,
  title,
  xLabel,
  yLabel,
}: {
  home: Home;
  feature: Feature;
  points: CurvePoint[];
  name: string;
  title: string;
  xLabel: string;
  yLabel: string;
}) {
  const arms = new Map<string, CurvePoint[]>();
  for (const point of points) {
    if (point.estimate === null) continue;
    const key = `${armRank(point.arm)} ${point.arm}\u0000${point.lineage ?? ""}`;
    arms.set(key, [...(arms.get(key) ?? []), point]);
  }
  const series = [...arms]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, mine]): Series => {
      const { arm, lineage } = mine[0]!;
      return {
        name: arm.replace(/_/g, " ") + (lineage ? ` (${lineage})` : ""),
        role: armRank(arm) === 2 ? "null" : "value",
        points: [...mine]
          .sort((a, b) => a.x - b.x)
          .map((p) => ({ x: p.x, y: p.estimate, lo: p.lo, hi: p.hi })),
      };
    });
  const nulls = series.filter((s) => s.role === "null").map((s) => s.name);
  return (
    <Figure
      home={home}
      name={`${nameOf(feature.id)}-${name}`}
      title={title}
      alt={`${yLabel} against ${xLabel}. ${series.map(said).join("; ")}`}
      note={nulls.length ? `Dashed: ${nulls.join(", ")}.` : "No random arm was run for this curve."}
      data={{
        heads: [
          { head: "arm", form: "text" },
          { head: xLabel, form: "number" },
          { head: yLabel, form: "number" },
          { head: "lo", form: "number" },
          { head: "hi", form: "number" },
        ],
        rows: series.flatMap((s) => s.points.map((p) => [s.name, p.x, p.y, p.lo ?? null, p.hi ?? null])),
      }}
      width={560}
      height={300}
    >
      <Lines width={560} height={300} series={series} xLabel={xLabel} yLabel={yLabel} baseline={0} />
    </Figure>
  );
}
