// Where a feature fires hardest: the places with their bases, motif hits and the genes around them;
// for models of k-mers and genes the study's own columns.
import type { Context, Feature, Home } from "../../data/format";
import { nameOf } from "../../data/names";
import { regionName } from "../../data/filter/parse";
import { REACH } from "../../data/place";
import { href } from "../../route";
import { number, show } from "../../ui/show";
import { Table, type Cell } from "../../ui/table";
import { counted, spoken } from "../../ui/words";
import { distance } from "../found";

/** Cards of places drawn in full, and those that stand open. */
const CARDS = 12,
  OPEN = 4;

export function Contexts({
  home,
  feature,
  heading = "Where it fires hardest",
}: {
  home: Home;
  feature: Feature;
  heading?: string;
}) {
  if (!feature.contexts.length) return null;
  // a bin that is open in many units is one place
  const places = new Map<string, Context[]>();
  for (const one of feature.contexts) {
    const had = places.get(one.name);
    if (had) had.push(one);
    else places.set(one.name, [one]);
  }
  const cards = [...places.values()]
    .filter(([first]) => first!.chrom !== null || hasSequence(first!))
    .slice(0, CARDS);
  return (
    <section aria-labelledby="contexts">
      <h2 id="contexts">{heading}</h2>
      {cards.length ? (
        <div class="pair">
          <div class="tall">
            <ContextTable home={home} feature={feature} />
          </div>
          <div>
            {cards.map((alike, i) => (
              <Card home={home} alike={alike} open={i < OPEN} />
            ))}
            {cards.length < places.size ? (
              <p class="note">
                Bases and genes of the {cards.length} strongest of {places.size} places.
              </p>
            ) : null}
          </div>
        </div>
      ) : (
        <div class="tall">
          <ContextTable home={home} feature={feature} />
        </div>
      )}
    </section>
  );
}

const hasSequence = (one: Context) => typeof one.values["sequence"] === "string";

function ContextTable({ home, feature }: { home: Home; feature: Feature }) {
  const kept = feature.contexts.length;
  const left = kept < feature.contexts_total ? ` (${kept} of ${feature.contexts_total})` : "";
  // A token is marked in its sequence; a bin is all of it.
  const bins = feature.contexts.some((one) => one.chrom !== null && token(one) === null);
  const what = bins ? "Top bins" : "Top tokens";
  const condition = home.unit_columns.find((c) => c.name === home.words.condition);
  const columns = home.context_columns.filter(
    (c) => c.name !== "sequence" || feature.contexts.some((one) => token(one) !== null),
  );
  const rows = feature.contexts.map((one): Cell[] => {
    const unit = home.units[one.unit];
    return [
      one.chrom === null || one.start === null || one.end === null
        ? one.name
        : place(one.name, regionName({ chrom: one.chrom, start: one.start, end: one.end })),
      one.activation,
      unit?.unit ?? null,
      ...(condition ? [spoken(String(unit?.values[condition.name] ?? "")) || null] : []),
      ...columns.map((c): Cell => {
        const value = one.values[c.name] ?? null;
        if (c.name === "gene" && typeof value === "string")
          return { value, node: <a href={href(["gene", value])}>{value}</a> };
        return c.name === "sequence" && typeof value === "string"
          ? { value, node: <Cased bases={value} /> }
          : value;
      }),
      one.rank,
    ];
  });
  return (
    <Table
      caption={`${what} of ${nameOf(feature.id)}, strongest first${left}`}
      heads={[
        { head: "place", form: "text" },
        { head: "activation", form: "number" },
        { head: home.words.unit, form: "text" },
        ...(condition ? [{ head: home.words.condition, form: "text" as const }] : []),
        ...columns.map((c) => ({ head: c.head || c.name, form: c.form, text: c.text })),
        { head: "rank", form: "count", text: `among the places of the ${home.words.unit}` },
      ]}
      rows={rows}
    />
  );
}

const place = (name: string, region: string): Cell => ({
  value: name,
  node: <a href={href(["region", region])}>{name}</a>,
});

/** The token of a k-mer model: bases in upper case between flanks in lower case; null: a whole bin. */
function token(one: Context): string | null {
  const bases = one.values["sequence"];
  return typeof bases === "string" && bases !== bases.toUpperCase() ? bases : null;
}

/** Bases of a token, in upper case, stand out between those around it, in lower case. */
function Cased({ bases }: { bases: string }) {
  const parts = bases.match(/[a-z]+|[^a-z]+/g) ?? [];
  return <code class="bases">{parts.map((part) => (/[a-z]/.test(part) ? part : <b>{part}</b>))}</code>;
}

function Card({ home, alike, open }: { home: Home; alike: Context[]; open: boolean }) {
  const [first] = alike as [Context, ...Context[]],
    unit = (one: Context) => home.units[one.unit]?.unit ?? String(one.unit);
  const more = alike.length - 1;
  return (
    <details class="card" open={open}>
      <summary>
        <strong>{first.name}</strong> activation {number(first.activation)}, {unit(first)}
        {more ? ` and ${more} more ${more === 1 ? home.words.unit : `${home.words.unit}s`}` : ""}
      </summary>
      {more ? (
        <p class="note">{alike.map((one) => `${unit(one)} ${number(one.activation)}`).join(", ")}</p>
      ) : null}
      {first.chrom === null || first.start === null || token(first) !== null ? (
        <Own home={home} one={first} />
      ) : (
        <>
          <Bases one={first} start={first.start} />
          <Ruler one={first} start={first.start} end={first.end ?? first.start} />
        </>
      )}
    </details>
  );
}

/** The study's own columns of a place. */
function Own({ home, one }: { home: Home; one: Context }) {
  return (
    <dl class="facts">
      {home.context_columns.map((c) => {
        const value = one.values[c.name];
        return (
          <>
            <dt title={c.text}>{c.head || c.name}</dt>
            <dd>
              {c.name === "sequence" && typeof value === "string" ? (
                <Cased bases={value} />
              ) : (
                show(value, c.form)
              )}
            </dd>
          </>
        );
      })}
    </dl>
  );
}

type Hit = NonNullable<Context["hits"]>[number];
const MARKS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
  LINE = 64,
  HITS = 12;

/** The bin's bases; motif hits in upper case, underlined, with their letter below. */
function Bases({ one, start }: { one: Context; start: number }) {
  const bases = one.values["sequence"];
  if (typeof bases !== "string") return null;
  const inside = (one.hits ?? []).filter(([, from, to]) => to > start && from < start + bases.length);
  const kept = [...inside]
    .sort((a, b) => (b[4] ?? 0) - (a[4] ?? 0))
    .slice(0, HITS)
    .sort((a, b) => a[1] - b[1] || a[2] - b[2]);
  const lanes = inLanes(kept);
  const covered = (i: number) => kept.some(([, from, to]) => from <= start + i && start + i < to);
  const lines: number[] = [];
  for (let i = 0; i < bases.length; i += LINE) lines.push(i);
  return (
    <>
      <div class="scroll" tabIndex={0} role="region" aria-label={`Bases of ${one.name}`}>
        <pre class="bases">
          {lines.map((from) => {
            const part = bases.slice(from, from + LINE);
            const runs: { text: string; hit: boolean }[] = [];
            for (let i = 0; i < part.length; i++) {
              const hit = covered(from + i),
                last = runs[runs.length - 1];
              const base = hit ? part[i]!.toUpperCase() : part[i]!.toLowerCase();
              if (last && last.hit === hit) last.text += base;
              else runs.push({ text: base, hit });
            }
            const marks = lanes
              .map((lane) =>
                Array.from(part, (_, i) => {
                  const k = lane.find(
                    (h) => kept[h]![1] <= start + from + i && start + from + i < kept[h]![2],
                  );
                  return k === undefined ? " " : MARKS[k];
                })
                  .join("")
                  .trimEnd(),
              )
              .filter((line) => line);
            return (
              <>
                {runs.map((run) => (run.hit ? <u>{run.text}</u> : run.text))}
                {"\n"}
                {marks.length ? (
                  <span class="marks" aria-hidden="true">
                    {marks.join("\n")}
                    {"\n"}
                  </span>
                ) : null}
              </>
            );
          })}
        </pre>
      </div>
      <p class="note">
        {one.hits === null
          ? "motif hits: not measured in this run"
          : kept.length === 0
            ? "no motif hit in this bin"
            : kept.map(([motif, from, , strand, score], k) => (
                <>
                  <b>{MARKS[k]}</b> <a href={href(["term", `motif:${motif}`])}>{motif}</a> {strand ?? ""}{" "}
                  {show(from + 1, "count")}
                  {score === null ? "" : `, score ${number(score)}`}
                  {k < kept.length - 1 ? "; " : ""}
                </>
              ))}
        {inside.length > kept.length
          ? ` (the ${kept.length} of highest score of ${counted(inside.length, "hit")})`
          : ""}
      </p>
    </>
  );
}

/** Hits that overlap are marked in different lines: numbers of hits by line. */
function inLanes(hits: Hit[]): number[][] {
  const lanes: number[][] = [];
  hits.forEach(([, from], k) => {
    const free = lanes.find((lane) => hits[lane[lane.length - 1]!]![2] <= from);
    if (free) free.push(k);
    else lanes.push([k]);
  });
  return lanes;
}

const WIDE = 700,
  NAMED = 8;

/** A ruler of 200 kb with the bin in the middle and start sites as arrows; the nearest are named. */
function Ruler({ one, start, end }: { one: Context; start: number; end: number }) {
  const center = Math.floor((start + end) / 2);
  const near = one.genes
    .filter(([, tss]) => Math.abs(tss - center) <= REACH)
    .sort((a, b) => Math.abs(a[1] - center) - Math.abs(b[1] - center));
  if (!near.length) return <p class="note">no gene starts within 100 kb</p>;
  const said = near.map(([gene, tss]) => `${gene} ${distance(tss - center)}`).join(", ");
  const x = (tss: number) => ((tss - center + REACH) / (2 * REACH)) * WIDE;
  return (
    <>
      <svg
        class="ruler"
        viewBox={`0 0 ${WIDE} 30`}
        width={WIDE}
        height={30}
        role="img"
        aria-label={`Start sites within 100 kb of the middle of ${one.name}: ${said}`}
      >
        <g stroke="currentColor" fill="currentColor">
          <line x1={0} x2={WIDE} y1={14} y2={14} stroke-width={1} opacity={0.5} />
          {near.map(([, tss, strand]) => {
            const at = x(tss),
              to = strand === "-" ? -7 : 7;
            return (
              <path
                d={`M${at},14 v-9 h${to} m${to > 0 ? -3 : 3},-3 l${to > 0 ? 3 : -3},3 l${to > 0 ? -3 : 3},3`}
                fill="none"
                stroke-width={1.2}
              />
            );
          })}
          <circle cx={WIDE / 2} cy={14} r={3.5} />
        </g>
        <g class="axis">
          <text x={0} y={28}>
            −100 kb
          </text>
          <text x={WIDE / 2} y={28} text-anchor="middle">
            this bin
          </text>
          <text x={WIDE} y={28} text-anchor="end">
            +100 kb
          </text>
        </g>
      </svg>
      <p class="note">
        {near.slice(0, NAMED).map(([gene, tss], i) => (
          <>
            {i ? ", " : ""}
            <a href={href(["gene", gene])}>{gene}</a> {distance(tss - center)}
          </>
        ))}
        {near.length > NAMED ? ` and ${near.length - NAMED} more` : ""}
      </p>
    </>
  );
}
