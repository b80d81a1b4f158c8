// The overview: what was run, the claims with their verdicts, and the layer curve beside its null.
import type { Claim, Home } from "../data/format";
import { href, withQuery, type Route } from "../route";
import { Choices } from "../ui/choices";
import { Verdict } from "../ui/parts";
import { bound, grouped, show } from "../ui/show";
import { counted, plural } from "../ui/words";
import { LayerCurve } from "./curve";
import type { PageOf, PageProps } from "./page";

function Page({ home, route }: PageProps) {
  const run = home.run;
  return (
    <>
      <h1>{run["dataset"] ?? run["source"] ?? "Atlas"}</h1>
      {run["description"] ? <p class="lead">{run["description"]}</p> : null}
      <Counts home={home} />
      <Ledger home={home} route={route} />
      <h2>Layers</h2>
      <LayerCurve home={home} />
      <p>
        <a href={href(["layers"])}>Every statistic of every layer beside its null</a>
      </p>
      <h2>Run</h2>
      <RunCard home={home} />
    </>
  );
}

const COUNTS: [keyof Home["counts"], string][] = [
  ["alive", "fire often enough to compare"],
  ["tested", "tested for a difference"],
  ["context", "context features"],
  ["stable", "found again by other seeds"],
  ["causal", "causal beyond matched random features"],
  ["annotated", "annotated"],
];

/** How many features there are of what; a count that no stage made is not shown as zero. */
function Counts({ home }: { home: Home }) {
  const filled = (name: string) => home.columns.some((c) => c.name === name && c.filled);
  const measured: Record<keyof Home["counts"], boolean> = {
    alive: filled("alive"),
    tested: home.contrasted,
    context: home.contrasted,
    stable: filled("stability"),
    causal: filled("causal_percentile"),
    annotated: home.kinds.some((k) => home.layers.some((l) => l.annotated[k.name] !== undefined)),
  };
  const { alpha, stable, causal } = home.thresholds;
  const rule: Partial<Record<keyof Home["counts"], string>> = {
    context: `q < ${bound(alpha)}`,
    stable: `cosine ≥ ${bound(stable)}`,
    causal: `above ${show(100 * causal, "number").replace(/\.0*$/, "")}\u00a0%`,
    annotated: `q < ${bound(alpha)}`,
  };
  return (
    <ul class="cards" aria-label="Counts of features">
      <li>
        <strong>
          <a href={href(["features"])}>{grouped(home.total)}</a>
        </strong>
        <span>features of {counted(home.layers.length, "layer")}</span>
      </li>
      {COUNTS.filter(([name]) => measured[name]).map(([name, words]) => (
        <li key={name}>
          <strong>
            <a href={href(["features"], { f: `is:${name}` })}>{grouped(home.counts[name])}</a>
          </strong>
          <span>
            {words}
            {rule[name] ? `, ${rule[name]}` : ""}
          </span>
        </li>
      ))}
    </ul>
  );
}

const VERDICTS = ["supported", "not supported", "cannot be tested"];

function Ledger({ home, route }: { home: Home; route: Route }) {
  const chosen = VERDICTS.find((v) => v === route.query["verdict"]);
  const said = (claim: Claim) => claim.verdict ?? "cannot be tested";
  const words = [...new Set([...VERDICTS, ...home.claims.map(said)])];
  const tally = words
    .map((v) => [v, home.claims.filter((c) => said(c) === v).length] as const)
    .filter(([, n]) => n);
  if (home.claims.length === 0) {
    return (
      <>
        <h2>Claims</h2>
        <p class="empty">
          No claim was evaluated in this run; the stage <code>claims</code> writes the ledger.
        </p>
      </>
    );
  }
  return (
    <section aria-labelledby="claims">
      <h2 id="claims">Claims</h2>
      <Choices
        label={`${home.claims.length} claims:`}
        choices={[
          { text: "all", href: withQuery(route, { verdict: null }), on: !chosen },
          ...tally.map(([v, n]) => ({
            text: `${n} ${v}`,
            href: withQuery(route, { verdict: v }),
            on: chosen === v,
          })),
        ]}
      />
      <ul class="ledger">
        {home.claims
          .filter((c) => !chosen || said(c) === chosen)
          .map((c) => (
            <Entry key={c.claim} claim={c} />
          ))}
      </ul>
    </section>
  );
}

function Entry({ claim }: { claim: Claim }) {
  const facts: [string, string | null, string][] = [
    ["published", claim.published, "published"],
    ["as published, here", claim.as_published, "as-published"],
    ["corrected", claim.corrected, "corrected"],
    ["interval", claim.interval, ""],
    ["control", claim.control, "wide"],
  ];
  const why = claim.note && !(claim.rule && claim.note.startsWith(claim.rule)) ? claim.note : null;
  return (
    <li>
      <div class="head">
        <Verdict verdict={claim.verdict} />
        <h3>{claim.statement}</h3>
      </div>
      <dl class="facts">
        {facts.map(([name, text, kind]) => (
          <div key={name} class={kind || undefined}>
            <dt>{name}</dt>
            <dd>{text && text !== "-" ? text : <span class="dim">not measured</span>}</dd>
          </div>
        ))}
      </dl>
      {why ? <p class="note">{why}</p> : null}
      {claim.rule ? (
        <details>
          <summary>rule of the verdict</summary>
          <p>
            <code>{claim.rule}</code>
          </p>
          <p class="note">
            Claim {claim.claim}; the rule is evaluated on the stages' own numbers when the run ends.
          </p>
        </details>
      ) : null}
    </li>
  );
}

const ORDER = [
  "dataset",
  "description",
  "source",
  "paper",
  "model",
  "models",
  "model_r",
  "layers",
  "sae",
  "seed",
];
/** What people ask first stands first; what is not in the list keeps its order behind. */
const rank = (key: string): number => (ORDER.indexOf(key) + ORDER.length + 1) % (ORDER.length + 1);

/** The run card, the thresholds, and who was replicated. */
export function RunCard({ home }: { home: Home }) {
  const { words } = home,
    side = (unit: Home["units"][number]) => unit.values[words.condition];
  const groups = new Map<string, string[]>();
  for (const unit of home.units) {
    const of = String(side(unit) ?? "").replaceAll("_", " ");
    groups.set(of, [...(groups.get(of) ?? []), unit.unit]);
  }
  return (
    <dl class="facts">
      {Object.keys(home.run)
        .sort((a, b) => rank(a) - rank(b))
        .map((key) => [key, home.run[key]] as const)
        .filter(([, value]) => value)
        .map(([key, value]) => [<dt>{key.replaceAll("_", " ")}</dt>, <dd>{value}</dd>])}
      <dt>thresholds</dt>
      <dd>
        alpha {bound(home.thresholds.alpha)}, stable from {bound(home.thresholds.stable)}, causal from{" "}
        {bound(home.thresholds.causal)}
      </dd>
      {[...groups].map(([of, names]) => [
        <dt>
          {plural(words.unit)}
          {of ? `, ${of}` : ""}
        </dt>,
        <dd>
          {names.length}: {names.slice(0, 40).join(", ")}
          {names.length > 40 ? ", …" : ""}
        </dd>,
      ])}
      <dt>atlas</dt>
      <dd>
        format {home.atlas.format}, sha256 <code>{home.atlas.sha256}</code>
      </dd>
    </dl>
  );
}

export const overview: PageOf = { path: "", nav: "Overview", title: () => "Overview", Page };
