// What a feature is enriched for, kind by kind: estimate, interval, q, genes behind.
import { Bars, Forest, rowsHeight } from "../../chart/charts";
import { Figure } from "../../chart/figure";
import type { Annotation, Feature, Home, Kind } from "../../data/format";
import { nameOf } from "../../data/names";
import { href } from "../../route";
import { between, tested } from "../../ui/cells";
import { bound, interval, show } from "../../ui/show";
import { Table, type Cell, type Head } from "../../ui/table";
import { capital } from "../../ui/words";

const DRAWN = 12,
  WIDE = 560;

export function Annotations({ home, feature }: { home: Home; feature: Feature }) {
  const kinds = home.kinds.filter((kind) => asked(home, kind) || feature.annotations[kind.name]?.length);
  if (!kinds.length) return null;
  return (
    <section aria-labelledby="annotations">
      <h2 id="annotations">Annotations</h2>
      <div class="pair">
        {kinds.map((kind) => (
          <OfKind home={home} feature={feature} kind={kind} rows={feature.annotations[kind.name] ?? []} />
        ))}
      </div>
    </section>
  );
}

/** Whether the study tested any feature for this kind. */
const asked = (home: Home, kind: Kind) => home.layers.some((l) => kind.name in l.annotated);

/** Of ratios nothing is 1; of scores and correlations, 0. */
export const nothing = (kind: Kind): number => (/odds|fold|ratio/.test(kind.estimate) ? 1 : 0);

function OfKind({
  home,
  feature,
  kind,
  rows,
}: {
  home: Home;
  feature: Feature;
  kind: Kind;
  rows: Annotation[];
}) {
  if (!rows.length)
    return (
      <div>
        <h3>{capital(kind.many)}</h3>
        <p class="empty">No {kind.one} was tested for this feature.</p>
      </div>
    );
  const scoped = rows.some((a) => a.scope),
    alone = new Set(rows.map((a) => a.scope)).size === 1;
  const intervals = rows.some((a) => a.lo !== null),
    own = rows.some((a) => a.specificity !== null);
  const colored = kind.name === "chromhmm" && Object.keys(home.states).length > 0;
  const heads: Head[] = [
    { head: kind.one, form: "text" },
    ...(scoped ? [{ head: "where", form: "text" as const }] : []),
    { head: kind.estimate, form: "number" },
    ...(intervals ? [{ head: "95 %", form: "text" as const }] : []),
    { head: "p", form: "p" },
    { head: "q", form: "p" },
    ...(own
      ? [
          {
            head: `own ${home.words.stratum}, log2`,
            form: "text" as const,
            text: `log2 odds in the feature's own ${home.words.stratum} less the mean of the others`,
          },
        ]
      : []),
    ...(rows.some((a) => a.genes) ? [{ head: "genes", form: "text" as const }] : []),
  ];
  const lines = rows.map((a): Cell[] => [
    {
      value: a.term,
      node: (
        <>
          {colored ? <Swatch color={home.states[a.term]} /> : null}
          <a href={href(["term", `${kind.name}:${a.term}`])}>{a.term}</a>
        </>
      ),
    },
    ...(scoped ? [stem(a.scope) || "all"] : []),
    a.estimate,
    ...(intervals ? [between(a.lo, a.hi)] : []),
    a.p,
    tested(a.q),
    ...(own ? [specificity(a)] : []),
    ...(rows.some((one) => one.genes) ? [{ value: a.genes, node: <Genes names={a.genes} /> }] : []),
  ]);
  return (
    <div class="tall">
      <h3>{capital(kind.many)}</h3>
      <Drawn
        home={home}
        feature={feature}
        kind={kind}
        rows={rows.slice(0, DRAWN)}
        scoped={scoped && !alone}
      />
      <Table
        caption={`${capital(kind.many)} of ${nameOf(feature.id)}, best first`}
        heads={heads}
        rows={lines}
      />
    </div>
  );
}

/** Its excess in the feature's own stratum with its interval. */
function specificity(a: Annotation): Cell {
  if (a.specificity === null) return { value: null, node: "not tested" };
  const range = interval(a.specificity_low, a.specificity_high, "signed");
  const told = `${show(a.specificity, "signed")} ${range}`;
  return { value: told, node: <span class="one-line">{told}</span> };
}

/** A scope may be a file name: its stem says as much in less room. */
const stem = (scope: string) => scope.split(".")[0]!;

function Drawn({
  home,
  feature,
  kind,
  rows,
  scoped,
}: {
  home: Home;
  feature: Feature;
  kind: Kind;
  rows: Annotation[];
  scoped: boolean;
}) {
  const found = rows.filter((a) => a.estimate !== null);
  if (!found.length) return null;
  const zero = nothing(kind),
    name = nameOf(feature.id);
  const label = (a: Annotation) => (scoped && a.scope ? `${a.term} (${stem(a.scope)})` : a.term);
  const forest = found.some((a) => a.lo !== null);
  const height = rowsHeight(found.length, !forest && zero === 1);
  return (
    <Figure
      home={home}
      name={`${name}-${kind.name}`}
      title={`${capital(kind.estimate)} of its best ${kind.many}${forest ? " with 95 % intervals" : ""}`}
      alt={found
        .map((a) => `${label(a)}: ${show(a.estimate, "number")} ${interval(a.lo, a.hi)}, q ${show(a.q, "p")}`)
        .join("; ")}
      note={
        found.every((a) => a.q === null)
          ? "A score without a test; chance: not stored."
          : `The null is ${zero}; a ${kind.one} counts as enriched at q < ${bound(home.thresholds.alpha)}.`
      }
      data={{
        heads: [
          { head: kind.one, form: "text" },
          { head: kind.estimate, form: "number" },
          { head: "lo", form: "number" },
          { head: "hi", form: "number" },
          { head: "q", form: "p" },
        ],
        rows: found.map((a) => [label(a), a.estimate, a.lo, a.hi, a.q]),
      }}
      width={WIDE}
      height={height}
    >
      {forest ? (
        <Forest
          width={WIDE}
          height={height}
          zero={zero}
          xLabel={kind.estimate}
          rows={found.map((a) => ({
            label: label(a),
            estimate: a.estimate,
            lo: a.lo,
            hi: a.hi,
            tone: "none" as const,
          }))}
        />
      ) : (
        <Bars
          width={WIDE}
          height={height}
          xLabel={kind.estimate}
          form="number"
          rows={found.map((a) => ({
            label: label(a),
            value: a.estimate,
            null: zero === 1 ? 1 : null,
            href: href(["term", `${kind.name}:${a.term}`]),
          }))}
        />
      )}
    </Figure>
  );
}

/** The official color of a state beside its name. */
function Swatch({ color }: { color: string | undefined }) {
  if (!color) return null;
  return (
    <svg class="swatch" width={12} height={12} aria-hidden="true">
      <rect width={12} height={12} rx={2} fill={color} stroke="currentColor" stroke-width={0.5} />
    </svg>
  );
}

function Genes({ names }: { names: string | null }) {
  const all = (names ?? "").split(/[,;]\s*/).filter((name) => name);
  return (
    <>
      {all.map((name, i) => (
        <>
          {i ? ", " : ""}
          <a href={href(["gene", name])}>{name}</a>
        </>
      ))}
    </>
  );
}
