// One gene: the features that list it, or whose top contexts lie near its start site.
import type { Home } from "../data/format";
import { contextsIn, REACH, type Placed } from "../data/place";
import { layerAt } from "../data/names";
import { useAsked } from "../data/use";
import { geneOf, named, type KnownGene, type Listed, type Site } from "../data/vocabulary";
import { href } from "../route";
import { Loaded } from "../ui/parts";
import { filled } from "../ui/cells";
import { show } from "../ui/show";
import { Table, type Cell } from "../ui/table";
import { capital, counted } from "../ui/words";
import { ByLayer, FeatureTable, kindName, Near, Nothing, pageOf, PlaceTable } from "./found";
import { Track } from "./track";
import type { PageOf, PageProps } from "./page";

function Page({ home, route }: PageProps) {
  const text = (route.path[1] ?? "").trim();
  const asked = useAsked(text ? `gene ${text}` : null, () => geneOf(home, text));
  if (!home.has.includes("genes"))
    return <Nothing title="Gene" why={home.empty["gene"] ?? "This atlas knows no genes."} />;
  if (!text) return <Nothing title="Gene" why="Which gene? Write its symbol into the search box." />;
  return (
    <Loaded asked={asked} what={text}>
      {(found) =>
        found ? (
          <Gene home={home} known={found} />
        ) : (
          <Near home={home} title={text} text={text} what={`This atlas knows no gene ${text}.`} />
        )
      }
    </Loaded>
  );
}

function Gene({ home, known }: { home: Home; known: KnownGene }) {
  const { name, sites, listed } = known;
  return (
    <article>
      <h1>{name}</h1>
      {sites.length ? (
        <p>
          {sites.length === 1 ? "Start site" : `${sites.length} start sites`}:{" "}
          {sites.map((s, i) => (
            <>
              {i ? ", " : ""}
              {s.chrom}:{show(s.tss + 1, "count")} {s.strand ?? "strand not known"}
            </>
          ))}
        </p>
      ) : null}
      <Elsewhere home={home} name={name} />
      {listed ? <Lists home={home} name={name} listed={listed} /> : null}
      {sites.map((site, i) => (
        <NearSite home={home} name={name} site={site} nth={sites.length > 1 ? i + 1 : null} />
      ))}
      {!listed && !sites.length ? <p class="empty">No feature lists {name}.</p> : null}
      <p class="note">
        Elsewhere: https://www.ncbi.nlm.nih.gov/gene/?term={name} ·
        https://www.ensembl.org/Multi/Search/Results?q={name} (plain text; this page asks no other host)
      </p>
    </article>
  );
}

/** Terms of the same name: a motif, a pathway. */
function Elsewhere({ home, name }: { home: Home; name: string }) {
  const asked = useAsked(`also ${name}`, () => named(home, name));
  const also = asked.value?.filter((one) => one.kind !== "gene") ?? [];
  return (
    <p>
      <a href={href(["features"], { f: `gene:${name}` })}>its features in the table</a>
      {also.map((f) => (
        <>
          {" "}
          · also a <a href={pageOf(f)}>{kindName(home, f.kind)}</a>
        </>
      ))}
    </p>
  );
}

function Lists({ home, name, listed }: { home: Home; name: string; listed: Listed }) {
  const rows = listed.row,
    distinct = new Set(rows).size;
  return (
    <section aria-labelledby="lists">
      <h2 id="lists">
        {capital(counted(distinct, "feature"))} {distinct === 1 ? "lists" : "list"} {name}
      </h2>
      <div class="pair">
        <ByLayer
          home={home}
          rows={rows}
          name={name}
          what={`Features that list ${name}`}
          filter={`gene:${name}`}
        />
        <Ranks home={home} listed={listed} />
      </div>
      <FeatureTable
        home={home}
        caption={`Features that list ${name}, highest rank first`}
        rows={rows}
        brief={listed.brief}
        extra={
          [
            {
              head: { head: "rank", form: "count", text: "its place in the feature's list" },
              values: listed.rank,
            },
            {
              head: { head: "value", form: "number", text: "by which the list is ranked" },
              values: listed.value,
            },
            {
              head: { head: "fires", form: "count", text: "tokens of the gene on which the feature fires" },
              values: listed.fires,
            },
            { head: { head: "tokens", form: "count", text: "tokens of the gene" }, values: listed.tokens },
          ].filter((e) => e.values.some((v) => v !== null)) as Parameters<typeof FeatureTable>[0]["extra"]
        }
      />
    </section>
  );
}

/** Ranks told together. */
const BANDS = [
  [1, 1],
  [2, 3],
  [4, 5],
  [6, 10],
  [11, 20],
  [21, Infinity],
] as const;

/** How many features of each layer list it at a rank. */
function Ranks({ home, listed }: { home: Home; listed: Listed }) {
  const word = (low: number, high: number) =>
    low === high ? String(low) : high === Infinity ? `from ${low} on` : `${low}-${high}`;
  const places = new Map(home.layers.map((l, i) => [l.layer, i]));
  const counts = home.layers.map(() => BANDS.map(() => 0));
  listed.rank.forEach((rank, i) => {
    const place = places.get(layerAt(home, listed.row[i]!).layer)!;
    counts[place]![BANDS.findIndex(([low, high]) => rank >= low && rank <= high)]!++;
  });
  const found = filled(
    [
      { head: "layer", form: "text" },
      ...BANDS.map(([low, high]) => ({ head: `rank ${word(low, high)}`, form: "count" as const })),
    ],
    home.layers.map((l, i): Cell[] => [
      l.name,
      // a band that no layer has is no column
      ...counts[i]!.map((n, band) => (counts.some((row) => row[band]) ? n : null)),
    ]),
  );
  return <Table caption={`By layer and rank in the lists; ${said(listed)}`} {...found} />;
}

const said = (listed: Listed) =>
  listed.rank.length < listed.total
    ? `the first ${listed.rank.length} of ${listed.total}`
    : "a rank is by the mean where it fires";

function NearSite({ home, name, site, nth }: { home: Home; name: string; site: Site; nth: number | null }) {
  // as the filter gene: does it: a context less than 100 kb from the start site
  const region = { chrom: site.chrom, start: Math.max(site.tss - REACH + 1, 0), end: site.tss + REACH };
  const asked = useAsked(`near ${site.chrom} ${site.tss}`, () => contextsIn(home, region));
  const heading = nth === null ? "" : ` (start site ${nth})`;
  return (
    <Loaded asked={asked} what={`contexts near ${name}`}>
      {(places) => <NearBy home={home} name={name} site={site} places={places} heading={heading} />}
    </Loaded>
  );
}

function NearBy({
  home,
  name,
  site,
  places,
  heading,
}: {
  home: Home;
  name: string;
  site: Site;
  places: Placed[];
  heading: string;
}) {
  const rows = [...new Set(places.map((p) => p.row))];
  if (!places.length)
    return (
      <p class="empty">
        No top context lies within 100 kb of {name}
        {heading}.
      </p>
    );
  const region = { chrom: site.chrom, start: Math.max(site.tss - REACH, 0), end: site.tss + REACH };
  return (
    <section>
      <h2>
        {capital(counted(rows.length, "feature"))} with a top context within 100 kb of {name}
        {heading}
      </h2>
      <div class="pair">
        <ByLayer
          home={home}
          rows={rows}
          name={name}
          what={`Features with a top context within 100 kb of ${name}`}
          filter={`gene:${name}`}
        />
        <Track home={home} region={region} places={places} name={name} />
      </div>
      <PlaceTable
        home={home}
        caption={`${counted(places.length, "top context")} within 100 kb of ${name}, strongest first`}
        places={places}
        from={{ name, tss: site.tss }}
      />
    </section>
  );
}

export const gene: PageOf = { path: "gene", nav: null, title: (route) => route.path[1] ?? "Gene", Page };
