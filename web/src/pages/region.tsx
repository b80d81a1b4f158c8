// A stretch of the genome: the features whose top contexts lie in it, and the genes that start there.
import { parseRegion, regionName, type Region } from "../data/filter/parse";
import { contextsIn } from "../data/place";
import { useAsked } from "../data/use";
import type { Home } from "../data/format";
import { href } from "../route";
import { Loaded } from "../ui/parts";
import { capital, counted } from "../ui/words";
import { ByLayer, PlaceTable, Nothing } from "./found";
import type { PageOf, PageProps } from "./page";
import { distinctSites, sitesIn, Track } from "./track";

function Page({ home, route }: PageProps) {
  const text = (route.path[1] ?? "").trim();
  if (!home.has.includes("place"))
    return (
      <Nothing title="Region" why={home.empty["region"] ?? "The contexts of this atlas lie on no genome."} />
    );
  let region: Region | null = null,
    wrong = `${JSON.stringify(text)} is not a region: write chr22:37,500,000-37,600,000`;
  try {
    region = parseRegion(text);
  } catch (error) {
    wrong = (error as Error).message;
  }
  if (!region)
    return (
      <>
        <h1>{text || "Region"}</h1>
        <p class="error" role="alert">
          {wrong}
        </p>
      </>
    );
  return <Stretch home={home} region={region} />;
}

function Stretch({ home, region }: { home: Home; region: Region }) {
  const name = regionName(region),
    asked = useAsked(`region ${name}`, () => contextsIn(home, region));
  const chroms = [...new Set(home.places.map(([chrom]) => chrom))];
  return (
    <article>
      <h1>{name}</h1>
      <p>
        {capital(counted(region.end - region.start, "base"))}.{" "}
        <a href={href(["features"], { f: `region:${name}` })}>its features in the table</a>
      </p>
      <Starts home={home} region={region} />
      <Loaded asked={asked} what={`contexts in ${name}`}>
        {(places) => {
          const rows = [...new Set(places.map((p) => p.row))];
          return places.length ? (
            <>
              <h2>{capital(counted(rows.length, "feature"))} with a top context in it</h2>
              <div class="pair">
                <ByLayer
                  home={home}
                  rows={rows}
                  name={name}
                  what={`Features with a top context in ${name}`}
                  filter={`region:${name}`}
                />
                <Track home={home} region={region} places={places} name={name} />
              </div>
              <PlaceTable
                home={home}
                caption={`${counted(places.length, "top context")} in ${name}, strongest first`}
                places={places}
              />
            </>
          ) : (
            <p class="empty">
              No top context lies in {name}
              {chroms.includes(region.chrom) ? "" : `; chromosomes with top contexts: ${chroms.join(", ")}`}.
            </p>
          );
        }}
      </Loaded>
    </article>
  );
}

function Starts({ home, region }: { home: Home; region: Region }) {
  const asked = useAsked(`sites ${regionName(region)}`, () => sitesIn(home, region));
  if (!home.has.includes("genes")) return null;
  return (
    <Loaded asked={asked} what="start sites">
      {(sites) => {
        const names = distinctSites(sites);
        return names.length ? (
          <p>
            {capital(counted(names.length, "gene"))} start here:{" "}
            {names.slice(0, 40).map((name, i) => (
              <>
                {i ? ", " : ""}
                <a href={href(["gene", name])}>{name}</a>
              </>
            ))}
            {names.length > 40 ? ` and ${names.length - 40} more` : ""}
          </p>
        ) : (
          <p>No gene starts here.</p>
        );
      }}
    </Loaded>
  );
}

export const region: PageOf = {
  path: "region",
  nav: null,
  title: (route) => route.path[1] ?? "Region",
  Page,
};
