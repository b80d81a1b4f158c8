// Two models of one atlas, or two studies: what was measured of both, beside chance; matched features
// against their null.
import { Lines, type Series } from "../../chart/charts";
import { Figure } from "../../chart/figure";
import { json } from "../../data/chunk";
import type { Compare, Home, Layer, Measured, Numbers } from "../../data/format";
import { layerOf, nameOf } from "../../data/names";
import { useAsked } from "../../data/use";
import { FeatureLink, Loaded } from "../../ui/parts";
import { show } from "../../ui/show";
import { Table, type Cell } from "../../ui/table";
import { capital, counted } from "../../ui/words";
import { formOf, measured } from "./layers";

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

const STATISTICS: [string, string][] = [
  ["fvu", "FVU, held out"],
  ["l0", "L0"],
  ["dead", "dead latents"],
  ["loss_recovered", "loss recovered"],
  ["stable_fraction", "stable"],
];

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
      {[...new Set(numbers.filter((n) => n.other_layer === null).map((n) => n.name))].map((name) => (
        <Statistic
          home={home}
          models={[a, b]}
          name={name}
          at={(l) =>
            numbers.find((n) => n.name === name && n.layer === l.layer && n.other_layer === null) ?? null
          }
        />
      ))}
      {STATISTICS.filter(([key]) =>
        home.layers.some((l) => l.values[key] !== null && l.values[key] !== undefined),
      ).map(([key, name]) => (
        <Statistic home={home} models={[a, b]} name={name} at={(l) => stored(l, key)} />
      ))}
      {home.kinds
        .filter((k) => home.layers.some((l) => l.annotated[k.name]))
        .map((k) => (
          <Statistic
            home={home}
            models={[a, b]}
            name={`share of features with ${k.many}`}
            at={(l) => {
              const size = l.values["alive"] ?? l.size,
                n = l.annotated[k.name];
              return n === undefined || !size ? null : { ...EMPTY, value: n / size, n: size };
            }}
          />
        ))}
    </>
  );
}

const EMPTY: Measured = {
  name: "",
  layer: null,
  other_layer: null,
  value: 0,
  lo: null,
  hi: null,
  null: null,
  n: null,
  unit: null,
  note: null,
};

function stored(layer: Layer, key: string): Measured | null {
  const value = layer.values[key];
  return value === null || value === undefined ? null : { ...EMPTY, value };
}

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
        ["alive features", ...models.map((m) => sum(m, alive))],
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

/** One statistic of both models by relative depth, with what chance gives. */
function Statistic({
  home,
  models,
  name,
  at,
}: {
  home: Home;
  models: [string, string];
  name: string;
  at: (layer: Layer) => Measured | null;
}) {
  const of = models.map((m) => {
    const layers = layersOfModel(home, m),
      last = Math.max(...layers.map((l) => l.depth ?? 0)) || 1;
    return layers.flatMap((layer) => {
      const n = at(layer);
      return n ? [{ layer, n, x: (layer.depth ?? 0) / last }] : [];
    });
  });
  const without = models.filter((_, i) => of[i]!.length === 0);
  if (without.length) {
    return (
      <p class="empty">
        <strong>{capital(name)}</strong>: not measured in {without.join(" and ")}: cannot be compared.
      </p>
    );
  }
  const series = models.flatMap((m, i): Series[] => {
    const rows = of[i]!,
      nulls = rows.filter((r) => r.n.null !== null);
    return [
      { name: m, role: "value", points: rows.map((r) => ({ x: r.x, y: r.n.value, lo: r.n.lo, hi: r.n.hi })) },
      ...(nulls.length
        ? [
            {
              name: `${m}, chance`,
              role: "null" as const,
              points: nulls.map((r) => ({ x: r.x, y: r.n.null })),
            },
          ]
        : []),
    ];
  });
  const form = formOf(of[0]![0]!.n),
    chance = of.flat().some((r) => r.n.null !== null);
  return (
    <Figure
      home={home}
      name={`compare-${name.replace(/\W+/g, "-")}`}
      title={capital(name)}
      alt={of
        .flat()
        .map((r) => `${r.layer.name}: ${measured(r.n)}`)
        .join("; ")}
      note={chance ? "Dashed: what chance gives." : "Chance: not measured."}
      data={{
        heads: [
          { head: "layer", form: "text" },
          { head: "relative depth", form: "number" },
          { head: "value", form },
          { head: "lo", form },
          { head: "hi", form },
          { head: "chance", form },
          { head: "n", form: "count" },
        ],
        rows: of.flat().map((r) => [r.layer.name, r.x, r.n.value, r.n.lo, r.n.hi, r.n.null, r.n.n]),
      }}
      width={720}
      height={240}
    >
      <Lines
        width={720}
        height={240}
        series={series}
        xLabel="depth, share of the model's last layer"
        yLabel={name}
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
                      ? `${show(above / tested.length, "share")} beat their null's 99th percentile; chance: 1 %`
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
                    q99 ?? { value: null, node: "not tested" },
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
