// One term of an annotation: the features that are enriched for it.
import { Forest, rowsHeight } from "../chart/charts";
import { Figure } from "../chart/figure";
import { featureAt, identifiers } from "../data/feature";
import type { Home, Kind } from "../data/format";
import { nameOf } from "../data/names";
import { useAsked } from "../data/use";
import { named, parseTerm, termOf, type KnownTerm, type Post } from "../data/vocabulary";
import { href } from "../route";
import { FeatureLink, Loaded } from "../ui/parts";
import { between } from "../ui/cells";
import { bound, interval, show } from "../ui/show";
import { capital, counted } from "../ui/words";
import { nothing } from "./feature/annotations";
import { Contexts } from "./feature/contexts";
import { ByLayer, FeatureTable, kindName, Near, type Extra, Nothing, pageOf } from "./found";
import type { PageOf, PageProps } from "./page";

function Page({ home, route }: PageProps) {
  const text = (route.path[1] ?? "").trim();
  const asked = useAsked(text ? `term ${text}` : null, () => termOf(home, text));
  if (!home.has.includes("terms"))
    return <Nothing title="Term" why={home.empty["term"] ?? "This atlas has no annotations."} />;
  if (!text) return <Nothing title="Term" why="Which term? Write its name into the search box." />;
  return (
    <Loaded asked={asked} what={text}>
      {(found) => {
        if (found) return <Term home={home} known={found} />;
        const parts = parseTerm(home, text);
        return (
          <Near
            home={home}
            title={parts?.name ?? text}
            text={parts?.name ?? text}
            what={
              parts
                ? `This atlas knows no ${parts.kind.one} ${parts.name}.`
                : `${JSON.stringify(text)} is no term: write its kind and its name, as motif:GATA1.`
            }
          />
        );
      }}
    </Loaded>
  );
}

function Term({ home, known: { kind, name, post } }: { home: Home; known: KnownTerm }) {
  const filter = `${kind.filters[0] ?? kind.name}:${/\s/.test(name) ? `"${name}"` : name}`;
  const distinct = post ? new Set(post.row).size : 0,
    scored = post ? post.q.every((q) => q === null) : false;
  const number = capital(counted(distinct, "feature"));
  const least = `q < ${bound(home.thresholds.alpha)}`;
  const says = scored ? `Features that tell ${name} best` : `Features enriched for ${name}`;
  return (
    <article>
      <h1>{name}</h1>
      <p>
        {capital(kind.one)}. <a href={href(["features"], { f: filter })}>its features in the table</a>
      </p>
      <Elsewhere home={home} name={name} kind={kind} />
      {!post || !distinct ? (
        <p class="empty">
          No feature is enriched for {name} at q &lt; {bound(home.thresholds.alpha)}.
        </p>
      ) : (
        <>
          <h2>
            {scored
              ? `${number} ${distinct === 1 ? "tells" : "tell"} it best`
              : `${number} ${distinct === 1 ? "is" : "are"} enriched at ${least}`}
          </h2>
          <div class="pair">
            <ByLayer home={home} rows={post.row} name={`${kind.name}-${name}`} what={says} filter={filter} />
            <Strongest home={home} kind={kind} name={name} post={post} />
          </div>
          <FeatureTable
            home={home}
            caption={`${says}, ${scored ? "best" : "most significant"} first`}
            rows={post.row}
            brief={post.brief}
            extra={columns(kind, post)}
          />
          <First home={home} row={post.row[0]!} name={name} />
        </>
      )}
    </article>
  );
}

/** What the list tells beyond the feature's own columns; q is the term's. */
function columns(kind: Kind, post: Post): Extra[] {
  const scoped = post.scope.some((s) => s),
    intervals = post.lo.some((x) => x !== null);
  return [
    ...(scoped
      ? [
          {
            head: { head: "where", form: "text" as const },
            values: post.scope.map((s) => s.split(".")[0] || "all"),
          },
        ]
      : []),
    { head: { head: kind.estimate, form: "number" }, values: post.estimate },
    ...(intervals
      ? [
          {
            head: { head: "95 %", form: "text" as const },
            values: post.lo.map((lo, i) => between(lo, post.hi[i] ?? null)),
          },
        ]
      : []),
    { head: { head: `q of the ${kind.one}`, form: "p" }, values: post.q.map((q) => q ?? "not tested") },
  ];
}

const DRAWN = 16;

/** The first features of the list with their intervals, where they are stored. */
function Strongest({ home, kind, name, post }: { home: Home; kind: Kind; name: string; post: Post }) {
  const asked = useAsked("identifiers", () => identifiers(home));
  if (post.lo.every((x) => x === null)) return null;
  const zero = nothing(kind);
  return (
    <Loaded asked={asked} what="names of features">
      {(id) => {
        const rows = post.row.slice(0, DRAWN).map((row, i) => ({
          label: `${nameOf(id(row))}${post.scope[i] ? ` (${post.scope[i]!.split(".")[0]})` : ""}`,
          estimate: post.estimate[i] ?? null,
          lo: post.lo[i] ?? null,
          hi: post.hi[i] ?? null,
          tone: "none" as const,
        }));
        const height = rowsHeight(rows.length, false);
        return (
          <Figure
            home={home}
            name={`${kind.name}-${name}`}
            title={`${capital(kind.estimate)} of the first ${rows.length} with 95 % intervals`}
            alt={rows
              .map((r) => `${r.label}: ${show(r.estimate, "number")} ${interval(r.lo, r.hi)}`)
              .join("; ")}
            note={`The null is ${zero}.`}
            data={{
              heads: [
                { head: "feature", form: "text" },
                { head: kind.estimate, form: "number" },
                { head: "lo", form: "number" },
                { head: "hi", form: "number" },
              ],
              rows: rows.map((r) => [r.label, r.estimate, r.lo, r.hi]),
            }}
            width={560}
            height={height}
          >
            <Forest width={560} height={height} rows={rows} xLabel={kind.estimate} zero={zero} />
          </Figure>
        );
      }}
    </Loaded>
  );
}

/** Where the first feature of the list fires. */
function First({ home, row, name }: { home: Home; row: number; name: string }) {
  const asked = useAsked(`first ${row}`, () => featureAt(home, row));
  return (
    <Loaded asked={asked} what="its contexts">
      {(feature) =>
        feature.contexts.length ? (
          <>
            <Contexts
              home={home}
              feature={feature}
              heading={`Where ${nameOf(feature.id)}, the first of them, fires hardest`}
            />
            <p class="note">
              Contexts of the others are on their pages; <FeatureLink id={feature.id} /> comes first for{" "}
              {name}.
            </p>
          </>
        ) : null
      }
    </Loaded>
  );
}

/** A gene, or another kind's term, of the same name. */
function Elsewhere({ home, name, kind }: { home: Home; name: string; kind: Kind }) {
  const asked = useAsked(`also ${name}`, () => named(home, name));
  const also = asked.value?.filter((one) => one.kind !== kind.name) ?? [];
  return also.length ? (
    <p>
      {also.map((f, i) => (
        <>
          {i ? " · " : ""}also a <a href={pageOf(f)}>{kindName(home, f.kind)}</a>
        </>
      ))}
    </p>
  ) : null;
}

export const term: PageOf = { path: "term", nav: null, title: (route) => route.path[1] ?? "Term", Page };
