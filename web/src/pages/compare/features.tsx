// Two features side by side, line by line: the same lines as the terminal UI's screen Compare.
import { Figure } from "../../chart/figure";
import { Bars, rowsHeight } from "../../chart/charts";
import { featureOf } from "../../data/feature";
import type { Feature, Home, Kind } from "../../data/format";
import { idOf, nameOf } from "../../data/names";
import { useAsked } from "../../data/use";
import { href } from "../../route";
import { Loaded } from "../../ui/parts";
import { bound, interval, NONE, show } from "../../ui/show";
import { Table, type Cell } from "../../ui/table";
import { spoken } from "../../ui/words";
import { Near } from "../found";
import type { Form } from "../../data/format";

export function TwoFeatures({ home, a, b }: { home: Home; a: string; b: string }) {
  const ids = [a, b].map(idOf),
    bad = [a, b].find((_, i) => ids[i] === null);
  const asked = useAsked(bad === undefined ? `pair ${ids.join()}` : null, () =>
    Promise.all(ids.map((id) => featureOf(home, id!))),
  );
  if (bad !== undefined)
    return (
      <Near
        home={home}
        text={bad}
        what={
          bad
            ? `${JSON.stringify(bad)} is no feature: write L6/1234.`
            : "The other feature is not named yet: write L6/1234."
        }
      />
    );
  return (
    <Loaded asked={asked} what={`${a} and ${b}`}>
      {([left, right]) => <Pair home={home} left={left!.feature} right={right!.feature} />}
    </Loaded>
  );
}

const BY: Record<string, string> = { coactivation: "co-firing" };
const CANNOT = "cannot be compared";
interface Line {
  name: string;
  a: string;
  b: string;
}

/** Values of one column; where neither side has one, it cannot be compared. */
function both(name: string, left: Feature, right: Feature, key: string, form: Form): Line {
  return { name, a: show(left.values[key], form), b: show(right.values[key], form) };
}

function lines(home: Home, left: Feature, right: Feature): Line[] {
  const of = (f: Feature, key: string) => {
    const v = f.values[key];
    return typeof v === "number" ? v : null;
  };
  const text = (f: Feature, key: string) => {
    const v = f.values[key];
    return typeof v === "string" ? v : null;
  };
  const held = (f: Feature) => {
    const measured = f.checks.filter((c) => c.holds !== null).length;
    return measured ? `${f.checks.filter((c) => c.holds).length} of ${measured} measured` : NONE;
  };
  const found: Line[] = [
    both("label", left, right, "label", "text"),
    { name: "higher", a: spoken(text(left, "direction"), NONE), b: spoken(text(right, "direction"), NONE) },
    both("strongest in", left, right, "lineage", "text"),
    both("CDS t (corrected)", left, right, "cds", "signed"),
    both("q", left, right, "q", "p"),
    both("Hedges g", left, right, "effect", "signed"),
    {
      name: "its 95 % interval",
      a: interval(of(left, "lo"), of(left, "hi"), "signed"),
      b: interval(of(right, "lo"), of(right, "hi"), "signed"),
    },
    both("CDS published", left, right, "cds_published", "number"),
    both("density", left, right, "density", "share"),
    both("mean activation where it fires", left, right, "mean_activation", "number"),
    both("stability", left, right, "stability", "number"),
    both("causal effect", left, right, "causal_effect", "number"),
    both("its percentile among random", left, right, "causal_percentile", "share"),
    { name: "checks held", a: held(left), b: held(right) },
  ];
  for (const stratum of home.strata) {
    const t = (f: Feature) => show(f.effects.find((e) => e.lineage === stratum)?.t, "signed");
    found.push({ name: `t in ${stratum}`, a: t(left), b: t(right) });
  }
  const known = new Set([
    "layer",
    "feature",
    "alive",
    "label",
    "direction",
    "lineage",
    "cds",
    "q",
    "p",
    "p_published",
    "effect",
    "lo",
    "hi",
    "cds_published",
    "density",
    "mean_activation",
    "stability",
    "causal_effect",
    "causal_percentile",
    "level",
    "module",
    "confidence",
    "n_units",
  ]);
  for (const c of home.columns) {
    if (c.filled && !known.has(c.name) && !c.name.startsWith("t_"))
      found.push(both(c.text || c.head || c.name, left, right, c.name, c.form));
  }
  return found.filter((l) => l.a !== NONE || l.b !== NONE);
}

function Pair({ home, left, right }: { home: Home; left: Feature; right: Feature }) {
  const names = [nameOf(left.id), nameOf(right.id)] as const;
  const near = Object.entries(left.neighbors).flatMap(([kind, rows]) =>
    rows.filter((n) => n.id === right.id).map((n) => ({ kind, value: n.value })),
  );
  const link = left.links.filter((k) => k.id === right.id || k.other === right.id);
  const cell = (text: string, other: string): Cell => {
    if (text !== NONE) return text;
    return { value: null, node: other === NONE ? NONE : `not measured: ${CANNOT}` };
  };
  const head = (name: string) => ({ value: name, node: <a href={href(["feature", name])}>{name}</a> });
  return (
    <>
      <h2>
        {names[0]} and {names[1]}
      </h2>
      <p>
        {near.length
          ? near.map((n) => `Similarity by ${BY[n.kind] ?? n.kind}: ${show(n.value, "number")}. `)
          : `${names[1]} is not among the nearest of ${names[0]}. `}
        {link.map(
          (k) => `Linked by ${k.kind}: ${show(k.value, "number")}, p ${show(k.p, "p", "not tested")}. `,
        )}
        <a href={href(["compare"], { a: names[1], b: names[0] })}>swap</a>
      </p>
      <Table
        caption="Line by line"
        heads={[
          { head: "", form: "text" },
          { head: names[0], form: "text" },
          { head: names[1], form: "text" },
        ]}
        rows={[
          ["feature", head(names[0]), head(names[1])],
          ...lines(home, left, right).map((l): Cell[] => [l.name, cell(l.a, l.b), cell(l.b, l.a)]),
        ]}
      />
      <Units home={home} left={left} right={right} />
      <Terms home={home} left={left} right={right} />
    </>
  );
}

function Units({ home, left, right }: { home: Home; left: Feature; right: Feature }) {
  const word = home.words.unit,
    names = [nameOf(left.id), nameOf(right.id)] as const;
  const units = home.units.flatMap((unit, i) => {
    const a = left.activation.find((x) => x.unit === i),
      b = right.activation.find((x) => x.unit === i);
    return a || b
      ? [
          {
            unit: unit.unit,
            a: a?.mean ?? null,
            b: b?.mean ?? null,
            da: a?.density ?? null,
            db: b?.density ?? null,
          },
        ]
      : [];
  });
  if (!units.length) return null;
  const height = rowsHeight(units.length, false);
  return (
    <section aria-labelledby="units">
      <h3 id="units">Activation by {word}</h3>
      <div class="pair">
        {(
          [
            ["a", names[0]],
            ["b", names[1]],
          ] as const
        ).map(([side, name]) => (
          <Figure
            home={home}
            name={`${name}-means`}
            title={`${name}: mean over all tokens`}
            alt={units.map((u) => `${u.unit} ${show(u[side], "number")}`).join(", ")}
            data={{
              heads: [
                { head: word, form: "text" },
                { head: "mean", form: "number" },
              ],
              rows: units.map((u) => [u.unit, u[side]]),
            }}
            width={560}
            height={height}
          >
            <Bars
              width={560}
              height={height}
              xLabel="mean activation"
              form="number"
              rows={units.map((u) => ({ label: u.unit, value: u[side] }))}
            />
          </Figure>
        ))}
      </div>
      <Table
        caption={`Mean over all tokens, and share of tokens on which it fires, by ${word}`}
        heads={[
          { head: word, form: "text" },
          { head: `mean, ${names[0]}`, form: "number" },
          { head: `mean, ${names[1]}`, form: "number" },
          { head: `fires, ${names[0]}`, form: "share" },
          { head: `fires, ${names[1]}`, form: "share" },
        ]}
        rows={units.map((u) => [u.unit, u.a, u.b, u.da, u.db])}
      />
    </section>
  );
}

const SHOWN = 12;

/** Terms that both, or one alone, are enriched for. */
function Terms({ home, left, right }: { home: Home; left: Feature; right: Feature }) {
  const rows = home.kinds.flatMap((kind): Cell[][] => {
    const a = left.annotations[kind.name],
      b = right.annotations[kind.name];
    if (!a && !b) return [];
    if (!a || !b)
      return [
        [
          kind.many,
          { value: null, node: `${nameOf((a ? right : left).id)} was not tested: ${CANNOT}` },
          null,
          null,
        ],
      ];
    const mine = new Set(a.filter((x) => x.enriched).map((x) => x.term)),
      theirs = new Set(b.filter((x) => x.enriched).map((x) => x.term));
    const shared = [...mine].filter((t) => theirs.has(t));
    return [
      [
        kind.many,
        named(kind, shared),
        named(
          kind,
          [...mine].filter((t) => !theirs.has(t)),
        ),
        named(
          kind,
          [...theirs].filter((t) => !mine.has(t)),
        ),
      ],
    ];
  });
  if (!rows.length) return null;
  return (
    <section aria-labelledby="terms">
      <h3 id="terms">Enriched terms</h3>
      <Table
        caption={`Terms at q < ${bound(home.thresholds.alpha)}; of scores without q, the best`}
        heads={[
          { head: "kind", form: "text" },
          { head: "of both", form: "text" },
          { head: `${nameOf(left.id)} alone`, form: "text" },
          { head: `${nameOf(right.id)} alone`, form: "text" },
        ]}
        rows={rows}
      />
    </section>
  );
}

function named(kind: Kind, terms: string[]): Cell {
  const shown = terms.sort().slice(0, SHOWN);
  return {
    value: terms.join("; ") || null,
    node: shown.length ? (
      <>
        {shown.map((t, i) => (
          <>
            {i ? ", " : ""}
            <a href={href(["term", `${kind.name}:${t}`])}>{t}</a>
          </>
        ))}
        {terms.length > SHOWN ? ` and ${terms.length - SHOWN} more` : ""}
      </>
    ) : (
      "none"
    ),
  };
}
