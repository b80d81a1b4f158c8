// Pairs of layers: what was computed of each, and a matrix to choose from.
import { layerWords } from "../data/names";
import type { Flow, Home, Measured } from "../data/format";
import { withQuery, type Route } from "../route";
import { show } from "../ui/show";

/** Two layers and what is known of them. */
export interface Pair {
  layer: number;
  other: number;
  linked: boolean;
  flow: Flow | null;
  measured: Measured[];
}

/** Every pair that some stage computed, by layer. */
export function pairsOf(home: Home, measured: Measured[]): Pair[] {
  const found = new Map<string, Pair>();
  const at = (layer: number, other: number): Pair => {
    const key = `${layer} ${other}`;
    let pair = found.get(key);
    if (!pair) found.set(key, (pair = { layer, other, linked: false, flow: null, measured: [] }));
    return pair;
  };
  for (const [a, b] of home.linked) at(a, b).linked = true;
  for (const row of home.flow) at(row.layer, row.other_layer).flow = row;
  for (const row of measured) at(row.layer!, row.other_layer!).measured.push(row);
  return [...found.values()].sort((x, y) => x.layer - y.layer || x.other - y.other);
}

/** What the cell of a pair says: its share of continued features, or that it has links or numbers. */
function told(pair: Pair): { short: string; long: string } {
  const long: string[] = [];
  if (pair.flow) long.push(`${pair.flow.continued} of ${pair.flow.features} features continued`);
  if (pair.linked) long.push("links");
  if (pair.measured.length) long.push(`${pair.measured.length} numbers`);
  const short =
    pair.flow && pair.flow.features
      ? show(pair.flow.continued / pair.flow.features, "share")
      : pair.linked
        ? "links"
        : "numbers";
  return { short, long: long.join(", ") };
}

/** The matrix of layers: a link for each pair that was computed, "not computed" for the others. */
export function Chooser({
  home,
  pairs,
  chosen,
  route,
}: {
  home: Home;
  pairs: Pair[];
  chosen: Pair | undefined;
  route: Route;
}) {
  const rows = [...new Set(pairs.map((p) => p.layer))];
  const columns = [...new Set(pairs.map((p) => p.other))].sort((a, b) => a - b);
  const of = new Map(pairs.map((p) => [`${p.layer} ${p.other}`, p]));
  const short = (layer: number) => layerWords(home, layer).replace(/^layer /, "");
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Pairs of layers">
      <table class="matrix">
        <caption>
          Pairs of layers: from (rows) to (columns); % of features found again, where that was computed
        </caption>
        <thead>
          <tr>
            <th scope="col">from \ to</th>
            {columns.map((b) => (
              <th key={b} scope="col">
                {short(b)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((a) => (
            <tr key={a}>
              <th scope="row" class="short">
                {short(a)}
              </th>
              {columns.map((b) => {
                const pair = of.get(`${a} ${b}`);
                if (!pair)
                  return (
                    <td key={b} title="not computed">
                      <span aria-hidden="true">–</span>
                      <span class="hidden">not computed</span>
                    </td>
                  );
                const { short: text, long } = told(pair);
                return (
                  <td key={b}>
                    <a
                      href={withQuery(route, { a, b })}
                      aria-current={pair === chosen ? "true" : undefined}
                      title={long}
                      aria-label={`${layerWords(home, a)} to ${layerWords(home, b)}: ${long}`}
                    >
                      {text}
                    </a>
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
      <p class="note">– : not computed</p>
    </div>
  );
}
