// The corrected and the published score, then every stratum with its interval.
import { Forest, rowsHeight } from "../../chart/charts";
import { Figure } from "../../chart/figure";
import type { Feature, Home } from "../../data/format";
import { nameOf } from "../../data/names";
import { between, filled } from "../../ui/cells";
import { interval, show } from "../../ui/show";
import { Table, type Cell } from "../../ui/table";
import { capital, counted, plural, spoken } from "../../ui/words";
import { ranged } from "./ranged";

const real = (value: number | string | null | undefined) => (typeof value === "number" ? value : null);

export function Contrast({ home, feature }: { home: Home; feature: Feature }) {
  const v = feature.values,
    p = real(v["p"]),
    n = real(v["n_units"]),
    published = real(v["p_published"]);
  const target = spoken(home.words.target),
    reference = spoken(home.words.reference);
  const level = typeof v["level"] === "string" ? v["level"] : "unit";
  const q = show(v["q"], "p", "not tested");
  const corrected =
    v["cds"] === null
      ? "not tested"
      : `t ${show(v["cds"], "signed")}, p ${show(p, "p", "not tested")}, q ${q}`;
  const range = interval(real(v["lo"]), real(v["hi"]), "signed", "(no interval)");
  const effect = v["effect"] === null ? "not measured" : `${show(v["effect"], "signed")} ${range}`;
  const ratio = ranged(home, feature, RATIO);
  const chance = published === 0 ? "0 (no flip reached it)" : show(published, "p", "not tested");
  const asPublished =
    v["cds_published"] === null ? "not measured" : `CDS ${show(v["cds_published"], "number")}, p ${chance}`;
  return (
    <section aria-labelledby="contrast">
      <h2 id="contrast">
        Contrast: {target} against {reference}
      </h2>
      <div class="pair">
        <div>
          <dl class="facts">
            <dt>corrected</dt>
            <dd>{corrected}</dd>
            <dt>Hedges g</dt>
            <dd>{effect}</dd>
            {ratio ? (
              <>
                <dt>{ratio.head}</dt>
                <dd>{ratio.told}</dd>
              </>
            ) : null}
            <dt>null</dt>
            <dd>
              {p === null ? "not tested" : `percentile ${percentile(1 - p)}`}
              {n === null ? "" : `, n = ${counted(n, level)}`}
            </dd>
            <dt>published</dt>
            <dd>{asPublished}</dd>
          </dl>
        </div>
        {feature.effects.length ? (
          <Strata home={home} feature={feature} target={target} reference={reference} />
        ) : null}
      </div>
      {feature.effects.length ? (
        <Numbers home={home} feature={feature} target={target} reference={reference} />
      ) : null}
    </section>
  );
}

/** Columns of the ratio of rates per token, of studies that compare those. */
const RATIO = ["log_ratio", "ratio_low", "ratio_high"] as const;

const percentile = (share: number) => (share > 0.9999 ? "> 99.99 %" : `${(100 * share).toFixed(2)} %`);

const said = (e: Feature["effects"][number]) =>
  `${e.lineage}: g ${show(e.effect, "signed")} ${interval(e.lo, e.hi, "signed")}, q ${show(e.q, "p")}`;

interface Sides {
  home: Home;
  feature: Feature;
  target: string;
  reference: string;
}

function Strata({ home, feature, target, reference }: Sides) {
  const name = nameOf(feature.id),
    height = rowsHeight(feature.effects.length, false);
  const rows = feature.effects.map((e) => ({
    label: `${e.lineage}${e.n_units === null ? "" : ` (n = ${e.n_units})`}`,
    estimate: e.effect,
    lo: e.lo,
    hi: e.hi,
    tone: e.effect === null ? ("none" as const) : e.effect > 0 ? ("target" as const) : ("reference" as const),
  }));
  return (
    <Figure
      home={home}
      name={`${name}-effects`}
      title={`Effect by ${home.words.stratum}: Hedges g with its 95 % interval`}
      alt={feature.effects.map(said).join("; ")}
      note={`Right of the dashed line: higher ${target}; left: higher ${reference}. The null is 0.`}
      data={{
        heads: [
          { head: home.words.stratum, form: "text" },
          { head: "g", form: "signed" },
          { head: "lo", form: "signed" },
          { head: "hi", form: "signed" },
        ],
        rows: feature.effects.map((e): Cell[] => [e.lineage, e.effect, e.lo, e.hi]),
      }}
      width={560}
      height={height}
    >
      <Forest
        width={560}
        height={height}
        rows={rows}
        xLabel={`Hedges g, ${target} − ${reference}`}
        form="signed"
      />
    </Figure>
  );
}

function Numbers({ home, feature, target, reference }: Sides) {
  return (
    <Table
      caption={`${capital(plural(home.words.stratum))}: every number`}
      {...filled(
        [
          { head: home.words.stratum, form: "text" },
          { head: "t", form: "signed" },
          { head: "p", form: "p" },
          { head: "q", form: "p" },
          { head: "g", form: "signed" },
          { head: "95 %", form: "text" },
          { head: "n", form: "count", text: "units" },
          { head: `mean ${target}`, form: "number" },
          { head: `mean ${reference}`, form: "number" },
          { head: "AUROC", form: "number" },
          { head: "log2 fold", form: "signed" },
        ],
        feature.effects.map((e): Cell[] => [
          e.lineage,
          e.t,
          e.p,
          e.q,
          e.effect,
          between(e.lo, e.hi, "signed"),
          e.n_units,
          e.mean_vivo,
          e.mean_vitro,
          e.auroc,
          e.log2_fold,
        ]),
      )}
    />
  );
}
