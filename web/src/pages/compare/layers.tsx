// Two layers side by side: their statistics, what continues from one to the other, and what was
// measured of the pair beside chance.
import { json } from "../../data/chunk";
import type { Form, Home, Layer, Measured, Numbers } from "../../data/format";
import { layerOf } from "../../data/names";
import { useAsked } from "../../data/use";
import { href } from "../../route";
import { Loaded } from "../../ui/parts";
import { bound, interval, NONE, show } from "../../ui/show";
import { formOf } from "../statistics";
import { Table, type Cell } from "../../ui/table";

const ROWS: [string, string, Form][] = [
  ["alive", "alive features", "count"],
  ["n_context", "context features (q < {alpha})", "count"],
  ["fraction", "fraction of alive", "share"],
  ["random_init_fraction", "null: random-init model", "share"],
  ["stable_fraction", "alive, stable and context", "share"],
  ["published_fraction", "context by the published rule", "share"],
  ["fvu", "FVU, held out", "number"],
  ["l0", "L0", "number"],
  ["dead", "dead latents", "share"],
  ["loss_recovered", "loss recovered", "share"],
];
const INTERVALS: Record<string, [string, string]> = {
  fraction: ["lo", "hi"],
  random_init_fraction: ["random_init_lo", "random_init_hi"],
};

export function TwoLayers({ home, layers: [first, second] }: { home: Home; layers: [number, number] }) {
  const a = layerOf(home, first)!,
    b = layerOf(home, second)!;
  const asked = useAsked(home.has.includes("numbers") ? "numbers" : null, () => json<Numbers>("numbers"));
  return (
    <>
      <h2>
        Layers {a.name} and {b.name}
      </h2>
      <p>
        <a href={href(["compare"], { layers: `${second},${first}` })}>swap</a>
        {home.linked.some(([x, y]) => (x === first && y === second) || (x === second && y === first)) ? (
          <>
            {" "}
            ·{" "}
            <a href={href(["flow"], { a: Math.min(first, second), b: Math.max(first, second) })}>
              links between them
            </a>
          </>
        ) : null}
      </p>
      <Statistics home={home} a={a} b={b} numbers={asked.value ?? []} />
      {asked.pending || asked.error ? (
        <Loaded asked={asked} what="numbers of the layers">
          {() => null}
        </Loaded>
      ) : null}
      <Continued home={home} a={a} b={b} numbers={asked.value ?? []} />
    </>
  );
}

function Statistics({ home, a, b, numbers }: { home: Home; a: Layer; b: Layer; numbers: Numbers }) {
  const heads = [
    { head: "", form: "text" as const },
    ...[a, b].map((l) => ({ head: `layer ${l.name}`, form: "text" as const })),
  ];
  const rows: Cell[][] = ROWS.flatMap(([key, head, form]): Cell[][] => {
    const values = [a, b].map((l) => l.values[key] ?? null);
    if (values.every((v) => v === null)) return [];
    const name = head.replace("{alpha}", bound(home.thresholds.alpha)),
      ends = INTERVALS[key];
    const cells = [a, b].map((l, i) => {
      const told = ends ? interval(l.values[ends[0]] ?? null, l.values[ends[1]] ?? null, form) : NONE;
      return values[i] === null
        ? missing(values.some((v) => v !== null))
        : `${show(values[i], form)}${told === NONE ? "" : ` ${told}`}`;
    });
    return [[name, ...cells]];
  });
  for (const kind of home.kinds) {
    const values = [a, b].map((l) => l.annotated[kind.name] ?? null);
    if (values.some((v) => v !== null)) {
      rows.push([
        `with ${kind.many}`,
        ...[a, b].map((l, i) =>
          values[i] === null
            ? missing(values.some((v) => v !== null))
            : `${show(values[i], "count")} of ${show(l.values["alive"] ?? l.size, "count")}`,
        ),
      ]);
    }
  }
  for (const key of [...new Set(numbers.filter((n) => n.other_layer === null).map(titleOf))]) {
    const found = [a, b].map((l) =>
      numbers.find((n) => titleOf(n) === key && n.layer === l.layer && n.other_layer === null),
    );
    if (found.some((n) => n)) rows.push([key, ...found.map((n) => (n ? measured(n) : missing(true)))]);
  }
  return <Table caption="Statistics of both; intervals are 95 %" heads={heads} rows={rows} />;
}

/** A number that one layer lacks cannot be compared where the other has it. */
const missing = (otherHas: boolean): Cell => ({
  value: null,
  node: otherHas ? "not measured: cannot be compared" : "not measured",
});

/** What was measured, and how. */
const titleOf = (n: Measured) => (n.note ? `${n.name} (${n.note})` : n.name);

/** A measured number with its interval and what chance gives. */
export function measured(n: Measured): string {
  const form = formOf([n]),
    ends = n.lo === null || n.hi === null ? "" : ` ${interval(n.lo, n.hi, form)}`;
  const chance = n.null === null ? "chance: not measured" : `chance ${show(n.null, form)}`;
  return `${show(n.value, form)}${ends}, ${chance}${n.n === null ? "" : `, n = ${show(n.n, "count")}`}`;
}

/** What continues from one layer to the other; the pair may be stored either way round. */
function Continued({ home, a, b, numbers }: { home: Home; a: Layer; b: Layer; numbers: Numbers }) {
  const flows = home.flow.filter(
    (f) =>
      (f.layer === a.layer && f.other_layer === b.layer) ||
      (f.layer === b.layer && f.other_layer === a.layer),
  );
  const pairs = numbers.filter(
    (n) =>
      n.other_layer !== null &&
      ((n.layer === a.layer && n.other_layer === b.layer) ||
        (n.layer === b.layer && n.other_layer === a.layer)),
  );
  const name = (layer: number | null) =>
    layer === null ? NONE : (layerOf(home, layer)?.name ?? String(layer));
  const least = bound(home.thresholds.stable);
  return (
    <section aria-labelledby="continued">
      <h3 id="continued">From one to the other</h3>
      {flows.length ? (
        <Table
          caption={`Best decoder match; from cosine ${least} on it continues; chance: not stored`}
          heads={[
            { head: "from", form: "text" },
            { head: "to", form: "text" },
            { head: "features", form: "count" },
            { head: "continue", form: "count" },
            { head: "share", form: "share" },
            { head: "context features", form: "count" },
            {
              head: "continue as context",
              form: "count",
              text: "the match is a context feature of the same direction as well",
            },
            { head: "share", form: "share" },
            { head: "mean cosine", form: "number" },
          ]}
          rows={flows.map((f): Cell[] => [
            name(f.layer),
            name(f.other_layer),
            f.features,
            f.continued,
            f.features ? f.continued / f.features : null,
            f.context_features,
            f.context_continued,
            f.context_features ? f.context_continued / f.context_features : null,
            f.mean_cosine,
          ])}
        />
      ) : (
        <p class="empty">
          The decoders of layers {a.name} and {b.name} were not matched: cannot be compared.
        </p>
      )}
      {pairs.length ? (
        <Table
          caption="Measured of the pair, beside chance"
          heads={[
            { head: "what", form: "text" },
            { head: "from", form: "text" },
            { head: "to", form: "text" },
            { head: "value", form: "text" },
            { head: "note", form: "text" },
          ]}
          rows={pairs.map((n) => [n.name, name(n.layer), name(n.other_layer), measured(n), n.note])}
        />
      ) : null}
    </section>
  );
}
