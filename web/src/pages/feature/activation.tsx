// How a feature fires in each unit: share of tokens, distribution of firing tokens, mean as a bar;
// units by condition.
import { Figure } from "../../chart/figure";
import type { Activation, Feature, Home, Unit } from "../../data/format";
import { nameOf } from "../../data/names";
import { number, show } from "../../ui/show";
import { spoken } from "../../ui/words";

const WIDTH = 760,
  ROW = 20,
  NAME = 0,
  FIRES = 270,
  MEAN = 335,
  DRAWN = 350,
  DRAWN_WIDTH = 130,
  BAR = 495;

interface Line {
  activation: Activation;
  unit: Unit;
}

export function Activations({ home, feature }: { home: Home; feature: Feature }) {
  if (!feature.activation.length) return null;
  const groups = byCondition(home, feature.activation);
  const lines = groups.flatMap(([, rows]) => rows),
    name = nameOf(feature.id);
  const top = Math.max(...lines.map((l) => l.activation.mean ?? 0)) || 1;
  const most = Math.max(...lines.flatMap((l) => l.activation.histogram.map((n) => Math.log1p(n)))) || 1;
  const headed = groups.length > 1 || groups[0]![0] !== null;
  const height = 26 + ROW * (lines.length + (headed ? groups.length : 0));
  const maximum = lines.find((l) => l.activation.maximum)?.activation.maximum ?? null;
  const stratum = home.unit_columns.find(
    (c) => c.name === home.words.stratum && c.name !== home.words.condition,
  );
  let y = 20;
  return (
    <section aria-labelledby="activation">
      <h2 id="activation">Activation by {home.words.unit}</h2>
      <Figure
        home={home}
        name={`${name}-activation`}
        title={`How often and how hard it fires in each ${home.words.unit}`}
        alt={lines.map(said).join("; ")}
        note={
          maximum === null
            ? "Bar: mean over all tokens."
            : `Distribution: log count of firing tokens, activation 0 to ${number(maximum)}; ` +
              "bar: mean over all tokens."
        }
        data={{
          heads: [
            { head: home.words.unit, form: "text" },
            { head: home.words.condition, form: "text" },
            ...(stratum ? [{ head: stratum.head, form: "text" as const }] : []),
            { head: "fires", form: "share" },
            { head: "mean", form: "number" },
            { head: "maximum", form: "number" },
            { head: "histogram", form: "text" },
          ],
          rows: groups.flatMap(([condition, rows]) =>
            rows.map(({ activation: a, unit }) => [
              unit.unit,
              spoken(condition) || null,
              ...(stratum ? [unit.values[stratum.name] ?? null] : []),
              a.density,
              a.mean,
              a.maximum,
              a.histogram.join(" "),
            ]),
          ),
        }}
        width={WIDTH}
        height={height}
      >
        <g class="axis">
          <text x={FIRES} y={12} text-anchor="end">
            fires
          </text>
          <text x={MEAN} y={12} text-anchor="end">
            mean
          </text>
          <text x={DRAWN} y={12}>
            distribution
          </text>
          <text x={BAR} y={12}>
            mean
          </text>
        </g>
        {groups.map(([condition, rows]) => {
          const tone = toneOf(home, condition);
          const head = headed ? y : null;
          if (headed) y += ROW;
          return (
            <g class={tone}>
              {head === null ? null : (
                <text font-weight="600" x={NAME} y={head + 14}>
                  {spoken(condition, "condition not known")}
                </text>
              )}
              {rows.map((line) => {
                const at = y;
                y += ROW;
                return (
                  <Row
                    line={line}
                    y={at}
                    top={top}
                    most={most}
                    detail={stratum ? String(line.unit.values[stratum.name] ?? "") : ""}
                  />
                );
              })}
            </g>
          );
        })}
      </Figure>
    </section>
  );
}

const said = ({ activation: a, unit }: Line) =>
  `${unit.unit}: fires on ${show(a.density, "share")} of tokens, mean ${show(a.mean, "number")}`;

function Row({
  line: { activation: a, unit },
  y,
  top,
  most,
  detail,
}: {
  line: Line;
  y: number;
  top: number;
  most: number;
  detail: string;
}) {
  const bins = a.histogram.length,
    wide = bins ? DRAWN_WIDTH / bins : 0;
  return (
    <g>
      <text x={NAME} y={y + 14}>
        {shortened(unit.unit, detail ? 20 : 30)}
        {detail ? ` · ${shortened(detail, 11)}` : ""}
      </text>
      <text x={FIRES} y={y + 14} text-anchor="end">
        {show(a.density, "share")}
      </text>
      <text x={MEAN} y={y + 14} text-anchor="end">
        {show(a.mean, "number")}
      </text>
      {a.histogram.map((n, i) => {
        const tall = (Math.log1p(n) / most) * (ROW - 5);
        return n ? (
          <rect
            class="own"
            x={DRAWN + i * wide}
            y={y + ROW - 2 - tall}
            width={Math.max(wide - 1, 0.5)}
            height={tall}
          />
        ) : null;
      })}
      <line
        x1={DRAWN}
        x2={DRAWN + DRAWN_WIDTH}
        y1={y + ROW - 2}
        y2={y + ROW - 2}
        class="rule"
        stroke-width={0.5}
      />
      {a.mean === null ? (
        <text x={BAR} y={y + 14}>
          not measured
        </text>
      ) : (
        <rect
          class="own"
          x={BAR}
          y={y + 5}
          width={Math.max(((WIDTH - BAR) * a.mean) / top, 0.5)}
          height={ROW - 9}
        />
      )}
    </g>
  );
}

/** Units of the target first, then those of the reference, then the others, each in the data set's
 * order. */
function byCondition(home: Home, rows: Activation[]): [string | null, Line[]][] {
  const groups = new Map<string | null, Line[]>();
  for (const key of [home.words.target, home.words.reference]) groups.set(key, []);
  for (const activation of rows) {
    const unit = home.units[activation.unit] ?? { unit: String(activation.unit), values: {} };
    const value = unit.values[home.words.condition];
    const key = value === null || value === undefined ? null : String(value);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key)!.push({ activation, unit });
  }
  return [...groups].filter(([, lines]) => lines.length);
}

export const toneOf = (home: Home, condition: string | null): string =>
  condition === home.words.target
    ? "tone-target"
    : condition === home.words.reference
      ? "tone-reference"
      : "";

const shortened = (text: string, length: number) =>
  text.length > length ? `${text.slice(0, length - 1)}…` : text;
