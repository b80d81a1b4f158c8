// Two models of one atlas, or two studies: what was measured of both, beside chance; matched features
// against their null.
import { Lines } from "../../chart/charts";
import { Figure } from "../../chart/figure";
import { json } from "../../data/chunk";
import type { Compare, Home, Layer, Numbers } from "../../data/format";
import { layerOf, layerWords, nameOf } from "../../data/names";
import { useAsked } from "../../data/use";
import { FeatureLink, Loaded } from "../../ui/parts";
import { tested as orWhy } from "../../ui/cells";
import { show } from "../../ui/show";
import { Table, type Cell } from "../../ui/table";
import { counted } from "../../ui/words";
import {
  panelData,
  seriesOf,
  statistics,
  UNTESTED,
  type Statistic,
  type StatisticPoint,
} from "../statistics";
import { measured } from "./layers";

/** Models whose layers the atlas holds, in the order of the layers. */
export const modelsOf = (home: Home): string[] => [
  ...new Set(home.layers.flatMap((l) => (l.model === null ? [] : [l.model]))),
];

/** What this atlas can be set against: its second model, other studies. */
export const studyOptions = (home: Home): string[] => [...modelsOf(home).slice(1), ...home.studies];

export function TwoStudies({ home, study }: { home: Home; study: string }) {
  const models = modelsOf(home);
  if (models.includes(study)) {
    const other = models.find((m) => m !== study);
    return other === undefined ? (
      <p class="empty">This atlas holds the model {study} alone: cannot be compared.</p>
    ) : (
      <Models home={home} a={other} b={study} />
    );
  }
  if (home.studies.includes(study)) return <Study study={study} />;
  const options = studyOptions(home);
  return (
    <p class="empty">
      {options.length
        ? `This atlas holds nothing of ${JSON.stringify(study)}; it can be set against ${options.join(", ")}.`
        : "This atlas holds one study and one model: there is nothing to compare it with."}
    </p>
  );
}

function Models({ home, a, b }: { home: Home; a: string; b: string }) {
  const asked = useAsked(home.has.includes("numbers") ? "numbers" : null, () => json<Numbers>("numbers"));
  const numbers = asked.value ?? [];
  return (
    <>
      <h2>
        {a} and {b}
      </h2>
      {asked.pending || asked.error ? (
        <Loaded asked={asked} what="numbers of the layers">
          {() => null}
        </Loaded>
      ) : null}
      <Matched home={home} a={a} b={b} numbers={numbers} />
      <Sizes home={home} models={[a, b]} />
      <div class="pair">
        {statistics(home, NO_CONTEXT, numbers).map((statistic) => (
          <OfBoth home={home} models={[a, b]} statistic={statistic} />
        ))}
      </div>
    </>
  );
}

/** The contrast of conditions is a statistic of one model's atlas; it stands on the pages of layers. */
const NO_CONTEXT: Statistic = {
  key: "context",
  title: "",
  yLabel: "",
  form: "share",
  nullName: "",
  without: UNTESTED,
  points: [],
};

const layersOfModel = (home: Home, model: string) => home.layers.filter((l) => l.model === model);

function Sizes({ home, models }: { home: Home; models: [string, string] }) {
  const sum = (model: string, of: (l: Layer) => number | null) => {
    const values = layersOfModel(home, model).map(of);
    return values.some((v) => v === null) ? null : values.reduce<number>((total, v) => total + v!, 0);
  };
  const alive = (l: Layer) => l.values["alive"] ?? null;
  return (
    <Table
      caption="What is compared"
      heads={[{ head: "", form: "text" }, ...models.map((m) => ({ head: m, form: "count" as const }))]}
      rows={[
        ["layers", ...models.map((m) => layersOfModel(home, m).length)],
        ["features", ...models.map((m) => sum(m, (l) => l.size))],
        ["alive features", ...models.map((m): Cell => sum(m, alive) ?? { value: null, node: "not stored" })],
      ]}
    />
  );
}

/** Pairs of layers of the two models that were matched, beside chance. */
function Matched({ home, a, b, numbers }: { home: Home; a: string; b: string; numbers: Numbers }) {
  const model = (layer: number | null) => (layer === null ? null : (layerOf(home, layer)?.model ?? null));
  const across = (x: number | null, y: number | null) =>
    (model(x) === a && model(y) === b) || (model(x) === b && model(y) === a);
  const pairs = numbers.filter((n) => across(n.layer, n.other_layer)),
    flows = home.flow.filter((f) => across(f.layer, f.other_layer));
  const name = (layer: number | null) =>
    layer === null ? null : (layerOf(home, layer)?.name ?? String(layer));
  return (
    <section aria-labelledby="matched">
      <h3 id="matched">Matched features</h3>
      {pairs.length ? (
        <Table
          caption="Share matched between the models, beside chance"
          heads={[
            { head: "what", form: "text" },
            { head: "from", form: "text" },
            { head: "to", form: "text" },
            { head: "value", form: "text" },
          ]}
          rows={pairs.map((n) => [n.name, name(n.layer), name(n.other_layer), measured(n)])}
        />
      ) : null}
      {flows.length ? (
        <Table
          caption="Best decoder match in the other model; chance: not stored"
          heads={[
            { head: "from", form: "text" },
            { head: "to", form: "text" },
            { head: "features", form: "count" },
            { head: "matched", form: "count" },
            { head: "mean cosine", form: "number" },
          ]}
          rows={flows.map((f) => [
            name(f.layer),
            name(f.other_layer),
            f.features,
            f.continued,
            f.mean_cosine,
          ])}
        />
      ) : null}
      {!pairs.length && !flows.length ? (
        <p class="empty">
          No features of {a} were matched with features of {b} in this run: cannot be compared one by one.
          What was measured of both follows.
        </p>
      ) : null}
    </section>
  );
}

/** One statistic of both models by depth, with what chance gives. */
function OfBoth({ home, models, statistic }: { home: Home; models: [string, string]; statistic: Statistic }) {
  const of = (model: string) =>
    statistic.points.filter((p) => p.value !== null && layerOf(home, p.layer)?.model === model);
  const note = statistic.note ? ` (${statistic.note})` : "";
  const without = models.filter((m) => !of(m).length);
  if (without.length) {
    return (
      <p class="empty">
        <strong>{statistic.title}</strong>
        {note}: not measured in {without.join(" and ")}: cannot be compared.
      </p>
    );
  }
  const both: Statistic = { ...statistic, points: models.flatMap(of) };
  const said = (p: StatisticPoint) =>
    `${layerWords(home, p.layer)}: ${show(p.value, statistic.form)}, ${statistic.nullName || "null"} ` +
    show(p.null, statistic.form, statistic.without);
  return (
    <Figure
      home={home}
      name={`compare-${statistic.key.replace(/\W+/g, "-")}`}
      title={statistic.title}
      alt={both.points.map(said).join("; ")}
      note={statistic.note}
      data={panelData(home, both)}
      width={560}
      height={240}
    >
      <Lines
        width={560}
        height={240}
        series={seriesOf(home, both)}
        xLabel="layer of the model"
        yLabel={statistic.yLabel}
      />
    </Figure>
  );
}

const SHOWN = 200;

/** Features of this atlas matched with those of another study. */
function Study({ study }: { study: string }) {
  const asked = useAsked("compare", () => json<Compare>("compare"));
  return (
    <Loaded asked={asked} what={study}>
      {(compare) => {
        const about = compare.studies.find((s) => s.study === study);
        const rows = compare.matches.filter(([, s]) => s === study);
        const tested = rows.filter(([, , , , q99]) => q99 !== null),
          above = tested.filter(([, , , cosine, q99]) => cosine > q99!).length;
        const mutual = rows.filter(([, , , , , both]) => both).length;
        const sorted = [...rows].sort((a, b) => b[3] - a[3]);
        return (
          <>
            <h2>This atlas and {study}</h2>
            {about ? (
              <p>
                Model {about.model}
                {about.revision ? `, revision ${about.revision}` : ""}.
              </p>
            ) : null}
            {rows.length ? (
              <>
                <dl class="facts">
                  <dt>matched</dt>
                  <dd>
                    {counted(rows.length, "feature")}, {show(mutual / rows.length, "share")} of them mutually
                  </dd>
                  <dt>beyond chance</dt>
                  <dd>
                    {tested.length
                      ? `${show(above / tested.length, "share")} beat the null's 99th percentile, chance 1 %`
                      : "not tested"}
                  </dd>
                </dl>
                <Table
                  caption={`Best matches, highest cosine first`}
                  limit={SHOWN}
                  heads={[
                    { head: "feature", form: "text" },
                    { head: `in ${study}`, form: "text" },
                    { head: "cosine", form: "number" },
                    { head: "99th percentile of the null", form: "number" },
                    { head: "mutual", form: "flag" },
                  ]}
                  rows={sorted.map(([id, , other, cosine, q99, both]): Cell[] => [
                    { value: nameOf(id), node: <FeatureLink id={id} /> },
                    nameOf(other),
                    cosine,
                    orWhy(q99),
                    both ? 1 : 0,
                  ])}
                />
              </>
            ) : (
              <p class="empty">No feature was matched with {study}: cannot be compared.</p>
            )}
          </>
        );
      }}
    </Loaded>
  );
}
