// Who a feature is, and whether its evidence holds: each check with what was found and what it is
// compared with.
import type { Feature, Home } from "../../data/format";
import { layerOf, nameOf, STRIDE } from "../../data/names";
import { href } from "../../route";
import { show } from "../../ui/show";
import { confidence, counted, spoken } from "../../ui/words";

const text = (value: number | string | null | undefined) =>
  value === null || value === undefined ? null : String(value);
const real = (value: number | string | null | undefined) => (typeof value === "number" ? value : null);

export function Identity({ home, feature }: { home: Home; feature: Feature }) {
  const v = feature.values,
    label = text(v["label"]),
    sure = real(v["confidence"]),
    direction = text(v["direction"]);
  const number = Math.floor(feature.id / STRIDE),
    layer = layerOf(home, number),
    module = real(v["module"]);
  return (
    <header class="identity">
      <h1>
        <span class="id">{nameOf(feature.id)}</span> {label ?? "no label"}
      </h1>
      <p>
        {label && sure !== null ? (
          <>
            confidence {confidence(sure)} ({show(sure, "share")}) ·{" "}
          </>
        ) : null}
        <a href={href(["layer", number])}>layer {layer?.name ?? number}</a>
        {module !== null ? (
          <>
            {" "}
            · {feature.modules.length ? null : "module "}
            {feature.modules.length
              ? feature.modules.map(([graph, m], i) => (
                  <>
                    {i ? ", " : ""}
                    <a href={href(["module", `${graph}/${number}/${m}`])}>module {m}</a>
                    {feature.modules.length > 1 ? ` (graph ${graph})` : ""}
                  </>
                ))
              : module}
          </>
        ) : null}
        {direction ? (
          <>
            {" "}
            · higher {spoken(direction)}
            {v["lineage"] ? `, strongest in ${v["lineage"]}` : ""}
          </>
        ) : null}
      </p>
      <p>
        density {show(v["density"], "share")} ·{" "}
        {v["mean_activation"] === null
          ? "mean where it fires not stored"
          : `mean ${show(v["mean_activation"], "number")} where it fires`}
        {" · "}
        <a href={href(["compare"], { a: nameOf(feature.id) })}>compare with another</a>
      </p>
    </header>
  );
}

const SIGN = { yes: ["✓", "holds"], no: ["✗", "does not hold"], unsure: ["?", "not measured"] } as const;

export function Checks({ home, feature }: { home: Home; feature: Feature }) {
  // an atlas without a contrast has checks that nothing in it could measure
  const checks = home.contrasted ? feature.checks : feature.checks.filter((c) => c.holds !== null);
  const held = checks.filter((c) => c.holds === true).length,
    measured = checks.filter((c) => c.holds !== null).length;
  return (
    <section aria-labelledby="checks">
      <h2 id="checks">
        {held} of {counted(measured, "measured check")} {measured === 1 ? "holds" : "hold"}
      </h2>
      <div class="scroll" tabIndex={0} role="region" aria-label="Checks">
        <table>
          <thead>
            <tr>
              <th scope="col">check</th>
              <th scope="col">verdict</th>
              <th scope="col" class="n">
                found
              </th>
              <th scope="col">null</th>
            </tr>
          </thead>
          <tbody>
            {checks.map((check) => {
              const kind = check.holds === null ? "unsure" : check.holds ? "yes" : "no",
                [symbol, word] = SIGN[kind];
              return (
                <tr>
                  <th scope="row">{check.ask}</th>
                  <td>
                    <span class={`verdict ${kind}`}>
                      <span aria-hidden="true">{symbol}</span> {word}
                    </span>
                  </td>
                  <td class="n">{check.holds === null ? "not measured" : check.found}</td>
                  <td>{check.null}</td>
                </tr>
              );
            })}
          </tbody>
        </table>
      </div>
    </section>
  );
}
