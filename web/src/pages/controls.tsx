// What each claim is held against and what came out, and every number that has a null of its own.
import { json } from "../data/chunk";
import type { Claim, Home, Numbers } from "../data/format";
import { layerWords } from "../data/names";
import { useAsked } from "../data/use";
import { href } from "../route";
import { Empty, Loaded, Verdict } from "../ui/parts";
import { bound } from "../ui/show";
import { Table, type Cell } from "../ui/table";
import { NumberTable } from "./layers";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  const wanted = home.has.includes("numbers");
  const asked = useAsked(wanted ? "numbers" : null, () => json<Numbers>("numbers"));
  const random = home.layers.some((l) => l.values["random_init_fraction"] != null);
  const nothing = !wanted && !random && home.claims.every((c) => !c.control);
  return (
    <>
      <h1>Controls</h1>
      {nothing ? <Empty why={home.empty["controls"] ?? "No control is in this atlas."} /> : null}
      <ClaimControls claims={home.claims} />
      {random ? <RandomModel home={home} /> : null}
      {wanted ? (
        <Loaded asked={asked} what="the numbers">
          {(numbers) => (
            <>
              <h2>Numbers beside what chance gives</h2>
              <NumberTable
                caption="Every number that the run measured of its layers"
                heads={["where"]}
                numbers={numbers}
                first={(n) => [
                  n.layer === null
                    ? "the run"
                    : n.other_layer === null
                      ? layerWords(home, n.layer)
                      : `${layerWords(home, n.layer)} to ${layerWords(home, n.other_layer)}`,
                ]}
              />
            </>
          )}
        </Loaded>
      ) : null}
    </>
  );
}

/** Every claim beside what it is held against: one line a control. */
function ClaimControls({ claims }: { claims: Claim[] }) {
  if (claims.length === 0) return null;
  return (
    <>
      <h2>What each claim is held against</h2>
      <ul class="ledger">
        {claims.map((c) => (
          <li key={c.claim}>
            <div class="head">
              <Verdict verdict={c.verdict} />
              <h3>{c.statement}</h3>
            </div>
            <dl class="facts">
              <div class="corrected">
                <dt>found</dt>
                <dd>{given(c.corrected) ?? <span class="dim">{c.note ?? "not measured"}</span>}</dd>
              </div>
              <div>
                <dt>interval</dt>
                <dd>{given(c.interval) ?? <span class="dim">not measured</span>}</dd>
              </div>
              <div class="wide">
                <dt>held against</dt>
                <dd>{given(c.control) ?? <span class="dim">no control</span>}</dd>
              </div>
              {c.rule ? (
                <div class="wide">
                  <dt>rule</dt>
                  <dd>
                    <code>{c.rule}</code>
                  </dd>
                </div>
              ) : null}
            </dl>
          </li>
        ))}
      </ul>
    </>
  );
}

const given = (text: string | null): string | null => (text && text !== "-" ? text : null);

function RandomModel({ home }: { home: Home }) {
  const value = (name: string, of: Home["layers"][number]): number | null => of.values[name] ?? null;
  const range = (lo: number | null, hi: number | null): Cell => ({
    value: lo,
    node: lo === null || hi === null ? "not tested" : `[${(100 * lo).toFixed(1)}, ${(100 * hi).toFixed(1)}]`,
  });
  return (
    <>
      <h2>Randomly initialized model</h2>
      <p>
        Share of alive features with q &lt; {bound(home.thresholds.alpha)} in the trained model and in the
        same analysis of a randomly initialized one.
      </p>
      <Table
        caption="Context features of the trained and of a randomly initialized model"
        heads={[
          { head: "layer", form: "text" },
          { head: "trained", form: "share" },
          { head: "95 %", form: "text" },
          { head: "randomly initialized", form: "share" },
          { head: "95 %", form: "text" },
        ]}
        rows={home.layers.map((l): Cell[] => [
          { value: l.name, node: <a href={href(["layer", l.layer])}>{layerWords(home, l.layer)}</a> },
          value("fraction", l),
          range(value("lo", l), value("hi", l)),
          value("random_init_fraction", l),
          range(value("random_init_lo", l), value("random_init_hi", l)),
        ])}
      />
    </>
  );
}

export const controls: PageOf = { path: "controls", nav: "Controls", title: () => "Controls", Page };
