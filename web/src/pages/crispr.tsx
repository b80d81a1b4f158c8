// Perturbed genes: which features respond, how many of them are specific, what chance gives.
import { layerWords } from "../data/names";
import { Bars } from "../chart/charts";
import { Figure } from "../chart/figure";
import { json } from "../data/chunk";
import type { Home, Measured, Numbers, Perturbations } from "../data/format";
import { useAsked } from "../data/use";
import { withQuery, type Route } from "../route";
import { Choices } from "../ui/choices";
import { Empty, FeatureLink, Loaded } from "../ui/parts";
import { show } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";
import { Measures, share, UNTESTED, wilson } from "./network";
import type { PageOf, PageProps } from "./page";

type Perturbed = Perturbations[number];
/** Numbers that speak of perturbations, by their name in the table numbers. */
const OF_RESPONSES = /respon|knock|perturb|specific|regulon/i;

function Page({ home, route }: PageProps) {
  const has = home.has.includes("perturbations");
  const asked = useAsked(has ? "perturbations" : null, () => json<Perturbations>("perturbations"));
  const numbers = useAsked(has && home.has.includes("numbers") ? "numbers" : null, () =>
    json<Numbers>("numbers"),
  );
  if (!has)
    return (
      <>
        <h1>CRISPRi</h1>
        <Empty why={home.empty["crispr"] ?? ""} />
      </>
    );
  return (
    <>
      <h1>Knock-downs</h1>
      <Loaded asked={asked} what="the perturbations">
        {(found) => (
          <Found
            home={home}
            route={route}
            found={found}
            measured={(numbers.value ?? []).filter((n) => OF_RESPONSES.test(n.name))}
          />
        )}
      </Loaded>
    </>
  );
}

function Found({
  home,
  route,
  found,
  measured,
}: {
  home: Home;
  route: Route;
  found: Perturbations;
  measured: Measured[];
}) {
  const layers = [...new Set(found.map((t) => t.layer))].sort((a, b) => a - b);
  const asked = Number(route.query.l);
  const layer = route.query.l !== undefined && layers.includes(asked) ? asked : layers[0];
  const rows = found.filter((t) => t.layer === layer);
  const target = found.find((t) => t.target === route.query.t && t.layer === layer);
  return (
    <>
      <Choices
        label="Features of"
        choices={layers.map((l) => ({
          text: layerWords(home, l),
          href: withQuery(route, { l }),
          on: l === layer,
        }))}
      />
      <Summary
        home={home}
        rows={rows}
        measured={measured.filter((n) => n.layer === null || n.layer === layer)}
      />
      {route.query.t !== undefined && !target ? (
        <Empty why={`No knock-down of ${route.query.t} here.`} />
      ) : null}
      {target ? <Responses home={home} of={target} /> : null}
      <Targets home={home} route={route} rows={rows} chosen={target} />
    </>
  );
}

/** The share of genes with a specific response, its interval, and what controls give. */
function Summary({ home, rows, measured }: { home: Home; rows: Perturbations; measured: Measured[] }) {
  const counted = rows.filter((t) => t.specific !== null);
  // beside a score the null is the score's, else the share that would be specific by chance
  const judged = counted.filter((t) => t.null !== null && t.estimate === null);
  const base = judged.length ? judged : counted;
  const hits = base.filter((t) => t.specific! > 0).length;
  const scored = rows.filter((t) => t.estimate !== null && t.null !== null);
  const above = scored.filter((t) => t.estimate! > t.null!).length;
  const cells = rows.map((t) => t.cells).filter((c): c is number => c !== null);
  const expected = judged.reduce((sum, t) => sum + t.null!, 0);
  return (
    <>
      {base.length ? (
        <p>
          <strong>{share(hits, base.length)}</strong>{" "}
          {judged.length ? "transcription factors have" : "perturbed genes have"} a responding feature
          that lists the gene or a known target.{" "}
          {judged.length ? (
            <>
              <strong>{show(expected, "number")}</strong> are expected if random features had responded.
            </>
          ) : (
            <>What random features give: {UNTESTED}.</>
          )}
        </p>
      ) : (
        <p>Responding features that list the gene or a known target: {UNTESTED} in this atlas.</p>
      )}
      {scored.length ? (
        <p>
          <strong>{share(above, scored.length)}</strong> transcription factors have a regulon score above
          the mean of sets drawn at random; whether a single one exceeds them is its p below.
        </p>
      ) : null}
      <p class="note">
        Intervals are binomial (Wilson, 95 %), computed in this page from the two counts.{" "}
        {cells.length ? `${span(cells)} perturbed cells each. ` : ""}
        Responses with q below {String(home.thresholds.alpha).replace(/^0/, "")} are counted as responding
        by the run.
      </p>
      <Measures
        home={home}
        rows={measured}
        caption="Responses beside random features and matched controls"
      />
      {measured.length ? null : (
        <p class="note">
          Shares under random features and under an expression-matched control: {UNTESTED} in this atlas
          beyond column “chance”.
        </p>
      )}
      <Scores home={home} rows={scored} />
    </>
  );
}

const span = (cells: number[]): string => {
  const least = Math.min(...cells),
    most = Math.max(...cells);
  return least === most ? show(least, "count") : `${show(least, "count")} to ${show(most, "count")}`;
};

/** Regulon scores beside those of matched sets, drawn where there are some. */
function Scores({ home, rows }: { home: Home; rows: Perturbations }) {
  if (!rows.length) return null;
  const ordered = [...rows].sort((a, b) => (a.p ?? 2) - (b.p ?? 2)).slice(0, 30);
  const height = 40 + 22 * ordered.length;
  const heads: Head[] = [
    { head: "target", form: "text" },
    { head: "score", form: "number" },
    { head: "chance", form: "number" },
    { head: "p", form: "p" },
  ];
  return (
    <Figure
      home={home}
      name="regulon-scores"
      width={720}
      height={height}
      title="Regulon score beside chance"
      alt={
        `Scores of ${rows.length} transcription factors beside chance; ` +
        `most significant: ${ordered[0]!.target}, ` +
        `${show(ordered[0]!.estimate, "number")} against ${show(ordered[0]!.null, "number")}.`
      }
      note={
        rows.length > ordered.length
          ? `The ${ordered.length} with the lowest p of ${rows.length}.`
          : undefined
      }
      data={{ heads, rows: rows.map((t) => [t.target, t.estimate, t.null, t.p]) }}
    >
      <Bars
        width={720}
        height={height}
        xLabel="score"
        form="number"
        rows={ordered.map((t) => ({ label: t.target, value: t.estimate, null: t.null }))}
      />
    </Figure>
  );
}

const fill = (value: number | null, form: "count" | "number" | "p" | "signed"): Cell => ({
  value,
  node: value === null ? UNTESTED : show(value, form),
});

/** The regulon score and its null; a gene to which nothing responds has none. */
const score = (t: Perturbed, value: number | null): Cell => ({
  value,
  node: value !== null ? show(value, "number") : t.responding === 0 ? "none responded" : UNTESTED,
});

function Targets({
  home,
  route,
  rows,
  chosen,
}: {
  home: Home;
  route: Route;
  rows: Perturbations;
  chosen: Perturbed | undefined;
}) {
  const specific = route.query.s === "specific";
  const ordered = specific
    ? [...rows].sort((a, b) => (b.specific ?? 0) - (a.specific ?? 0) || (a.p ?? 2) - (b.p ?? 2))
    : rows;
  const has = (key: keyof Perturbed) => rows.some((t) => t[key] !== null);
  const heads: Head[] = [
    { head: "target", form: "text", text: "the gene that was knocked down" },
    { head: "kind", form: "text" },
    { head: "known targets", form: "count" },
    ...(has("cells") ? [{ head: "cells", form: "count" } as const] : []),
    { head: "responding", form: "count", text: "features" },
    { head: "specific", form: "count", text: "of them with a known target among their genes" },
    { head: "score", form: "number", text: "regulon score of the responding features" },
    { head: "chance", form: "number", text: "what chance gives for that, or P(specific) by chance" },
    { head: "p", form: "p" },
    { head: "q", form: "p" },
    ...(has("note") ? [{ head: "note", form: "text" } as const] : []),
  ];
  const cells: Cell[][] = ordered.map((t) => [
    {
      value: t.target,
      node: (
        <a
          href={withQuery(route, { t: t.target, l: t.layer })}
          aria-current={t === chosen ? "true" : undefined}
        >
          {t.target}
        </a>
      ),
    },
    t.kind,
    fill(t.known, "count"),
    ...(has("cells") ? [fill(t.cells, "count")] : []),
    fill(t.responding, "count"),
    fill(t.specific, "count"),
    score(t, t.estimate),
    score(t, t.null),
    fill(t.p, "p"),
    fill(t.q, "p"),
    ...(has("note") ? [t.note] : []),
  ]);
  return (
    <>
      <h2>Perturbed genes</h2>
      {has("specific") ? (
        <Choices
          label="Order"
          choices={[
            { text: "as stored", href: withQuery(route, { s: null }), on: !specific },
            { text: "specific first", href: withQuery(route, { s: "specific" }), on: specific },
          ]}
        />
      ) : null}
      <Table
        caption={
          `${rows.length} perturbed genes` +
          (rows[0] ? `, features of ${layerWords(home, rows[0].layer)}` : "")
        }
        heads={heads}
        rows={cells}
        limit={1000}
      />
    </>
  );
}

function Responses({ home, of }: { home: Home; of: Perturbed }) {
  const heads: Head[] = [
    { head: "feature", form: "id" },
    { head: "effect", form: "signed", text: "of the feature in perturbed against control cells (t)" },
    { head: "p", form: "p" },
    { head: "q", form: "p" },
  ];
  const rows: Cell[][] = of.responses.map(([id, effect, p, q]) => [
    { value: id, node: <FeatureLink id={id} /> },
    effect,
    fill(p, "p"),
    fill(q, "p"),
  ]);
  const limits =
    of.responding !== null && of.specific !== null ? wilson(of.specific, of.responding) : null;
  return (
    <section>
      <h2>Responses to {of.target}</h2>
      <p>
        {of.responding === null
          ? `Responding features: ${UNTESTED}.`
          : `${show(of.responding, "count")} features of ${layerWords(home, of.layer)} respond.`}{" "}
        {limits ? `Specific: ${share(of.specific!, of.responding!)}.` : ""}{" "}
        {of.p === null
          ? `Regulon: ${of.known === null ? "no known targets" : UNTESTED}.`
          : `Score ${show(of.estimate, "number")} beside ${show(of.null, "number")} by chance, ` +
            `p ${show(of.p, "p")}, q ${of.q === null ? UNTESTED : show(of.q, "p")}.`}{" "}
        {of.note ?? ""}
      </p>
      {rows.length ? (
        <Table
          caption={`The strongest ${rows.length} responses to ${of.target}`}
          heads={heads}
          rows={rows}
        />
      ) : (
        <Empty why="The atlas stores no single responses of this gene." />
      )}
    </section>
  );
}

export const crispr: PageOf = {
  path: "crispr",
  nav: "CRISPRi",
  Page,
  title: (route) => (route.query.t ? `Responses to ${route.query.t}` : "Knock-downs"),
};
