// How many features of a layer have a decoder match in another.
import type { Flow, Home, Measured } from "../data/format";
import { bound, interval, show } from "../ui/show";
import { Table, type Cell, type Head } from "../ui/table";
import { UNTESTED, wilson } from "./network";

const HEADS: Head[] = [
  { head: "features", form: "text" },
  { head: "number", form: "count" },
  { head: "continued", form: "count" },
  { head: "share", form: "share" },
  {
    head: "95 % interval",
    form: "text",
    text: "binomial (Wilson), computed in this page from the two counts",
  },
  { head: "null", form: "text" },
];

/** The rows of table layer_flow of one pair. */
export function Continued({ home, flow, measured }: { home: Home; flow: Flow; measured: Measured[] }) {
  const chance = measured.find((row) => row.name === "decoder match")?.null ?? null;
  const row = (what: string, n: number, k: number, by: number | null = null): Cell[] => {
    const limits = wilson(k, n);
    return [
      what,
      n,
      k,
      n ? k / n : null,
      limits ? interval(limits[0], limits[1], "share") : "no features",
      { value: by, node: by === null ? UNTESTED : `${by ? "at most " : ""}${show(by, "share")}` },
    ];
  };
  const rows = [row("all", flow.features, flow.continued, chance)];
  if (home.contrasted)
    rows.push(
      row(
        `differing by condition (q < ${bound(home.thresholds.alpha)})`,
        flow.context_features,
        flow.context_continued,
      ),
    );
  return (
    <>
      <Table caption="Features with a decoder match in the other layer" heads={HEADS} rows={rows} />
      <p class="note">
        Continued: the cosine of the best match is at least {bound(home.thresholds.stable)}
        {home.contrasted
          ? "; one that differs by condition continues if its match differs in the same direction as well"
          : ""}
        . Mean cosine of the best matches:{" "}
        {flow.mean_cosine === null ? UNTESTED : show(flow.mean_cosine, "number")}. The interval is
        binomial (Wilson), computed in this page; features are not independent, so that it is too narrow.
        {chance === null ? "" : " The null: decoders of the other layer turned at random."}
      </p>
    </>
  );
}
