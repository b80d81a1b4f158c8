// A stretch of the genome: top contexts by place and activation, start sites as arrows.
import { Figure } from "../chart/figure";
import { json } from "../data/chunk";
import { identifiers } from "../data/feature";
import type { Home, Sites } from "../data/format";
import { nameOf } from "../data/names";
import { regionName, type Region } from "../data/filter/parse";
import { type Placed } from "../data/place";
import { fileOf } from "../data/vocabulary";
import { useAsked } from "../data/use";
import { href } from "../route";
import { number, show } from "../ui/show";

const WIDE = 560,
  TALL = 160,
  LEFT = 46,
  BASE = 120,
  TOP = 18,
  NAMES = 24,
  POINTS = 1000;

export interface StartSite {
  name: string;
  tss: number;
  strand: string | null;
}

/** Start sites in a region, left to right; none where the atlas has no genome. */
export async function sitesIn(home: Home, region: Region): Promise<StartSite[]> {
  if (!home.site_files) return [];
  const genes = await json<Sites>(`sites/${fileOf(region.chrom, home.site_files)}`),
    found: StartSite[] = [];
  genes.name.forEach((name, g) => {
    const tss = genes.tss[g];
    if (
      genes.chrom[g] !== region.chrom ||
      tss === null ||
      tss === undefined ||
      tss < region.start ||
      tss >= region.end
    )
      return;
    found.push({ name, tss, strand: genes.strand[g] ?? null });
  });
  return found.sort((a, b) => a.tss - b.tss);
}

export function Track({
  home,
  region,
  places,
  name,
}: {
  home: Home;
  region: Region;
  places: Placed[];
  name: string;
}) {
  const asked = useAsked(`sites ${regionName(region)}`, () => sitesIn(home, region));
  const ids = useAsked("identifiers", () => identifiers(home));
  const sites = asked.value ?? [],
    where = regionName(region);
  // the strongest are drawn last, above the others
  const shown = places.slice(0, POINTS).reverse(),
    most = places[0]?.activation ?? 1;
  const x = (base: number) =>
    LEFT + ((base - region.start) / (region.end - region.start)) * (WIDE - LEFT - 10);
  const y = (activation: number) => BASE - (activation / most) * (BASE - TOP);
  const left = places.length > POINTS ? ` (the strongest ${POINTS} of ${places.length})` : "";
  let free = -Infinity;
  return (
    <Figure
      home={home}
      name={`${name}-track`}
      title={`Top contexts and start sites in ${where}`}
      alt={
        `${places.length} top contexts in ${where}, the strongest with activation ${show(most, "number")}; ` +
        `start sites: ${sites.map((s) => s.name).join(", ") || "none"}`
      }
      note={
        `Each mark is a top context of a feature at its activation${left}; arrows are start sites. ` +
        "Chance: not stored."
      }
      data={{
        heads: [
          { head: "feature", form: "text" },
          { head: "chrom", form: "text" },
          { head: "start", form: "count" },
          { head: "end", form: "count" },
          { head: "activation", form: "number" },
          { head: home.words.unit, form: "text" },
        ],
        rows: places.map((p) => [
          ids.value ? nameOf(ids.value(p.row)) : null,
          p.chrom,
          p.start,
          p.end,
          p.activation,
          home.units[p.unit]?.unit ?? null,
        ]),
      }}
      width={WIDE}
      height={TALL}
    >
      <g class="axis">
        <line x1={LEFT} x2={WIDE - 10} y1={BASE} y2={BASE} stroke="currentColor" stroke-width={0.75} />
        <text x={LEFT - 5} y={TOP + 4} text-anchor="end">
          {number(most)}
        </text>
        <text x={LEFT - 5} y={BASE + 4} text-anchor="end">
          0
        </text>
        <text x={LEFT} y={TALL - 2}>
          {show(region.start + 1, "count")}
        </text>
        <text x={WIDE - 10} y={TALL - 2} text-anchor="end">
          {show(region.end, "count")}
        </text>
        <text x={LEFT} y={10}>
          activation
        </text>
      </g>
      <g>
        {shown.map((p) => {
          const name = ids.value ? nameOf(ids.value(p.row)) : null;
          const at = x((p.start + p.end) / 2);
          const label = `${name ?? "feature"} ${number(p.activation)}`;
          const mark = (
            <>
              <title>{label}</title>
              <path class="leader" d={`M${at},${BASE}V${y(p.activation)}`} />
              <circle class="mark" cx={at} cy={y(p.activation)} r={3} />
            </>
          );
          return name === null ? (
            <g>{mark}</g>
          ) : (
            <a href={href(["feature", name])} tabIndex={-1} aria-label={label}>
              {mark}
            </a>
          );
        })}
      </g>
      <g class="axis">
        {sites.map((s) => {
          const at = x(s.tss),
            to = s.strand === "-" ? -6 : 6,
            wide = 6.5 * s.name.length;
          const named = at > free && at + 8 + wide <= WIDE && sites.length <= 4 * NAMES;
          if (named) free = at + wide + 6;
          return (
            <g>
              <path d={`M${at},${BASE} v9 h${to}`} fill="none" stroke="currentColor" />
              {named ? (
                <text x={at + (to > 0 ? 8 : 3)} y={BASE + 16} font-size={10}>
                  {s.name}
                </text>
              ) : null}
            </g>
          );
        })}
      </g>
    </Figure>
  );
}

/** Names of genes by place, each once. */
export const distinctSites = (sites: StartSite[]): string[] => [...new Set(sites.map((s) => s.name))];
