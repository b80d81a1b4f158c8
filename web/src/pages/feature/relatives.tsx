// What a feature is like: neighbors by decoder and co-firing, links with other layers.
import type { Feature, Home, Neighbor } from "../../data/format";
import { nameOf, STRIDE } from "../../data/names";
import { href } from "../../route";
import { tested } from "../../ui/cells";
import { Table, type Cell, type Head } from "../../ui/table";
import { capital, spoken } from "../../ui/words";
import { layerName, link } from "../found";

const BY: Record<string, [string, string]> = {
  decoder: ["by decoder", "cosine of decoder rows; other layers are named in the feature"],
  coactivation: ["by co-firing", "correlation or PMI of firing"],
};

export function Similar({ home, feature }: { home: Home; feature: Feature }) {
  const kinds = Object.entries(feature.neighbors)
    .filter(([, rows]) => rows.length)
    .sort(([a], [b]) => Number(a !== "decoder") - Number(b !== "decoder") || (a < b ? -1 : 1));
  return (
    <section aria-labelledby="similar">
      <h2 id="similar">Similar features</h2>
      {kinds.length ? (
        <div class="pair">
          {kinds.map(([kind, rows]) => (
            <Kin home={home} feature={feature} kind={kind} rows={rows} />
          ))}
        </div>
      ) : (
        <p class="empty">No similar feature is known.</p>
      )}
    </section>
  );
}

function Kin({
  home,
  feature,
  kind,
  rows,
}: {
  home: Home;
  feature: Feature;
  kind: string;
  rows: Neighbor[];
}) {
  const [words, text] = BY[kind] ?? [`by ${spoken(kind)}`, ""];
  const own = Math.floor(feature.id / STRIDE),
    others = rows.some((n) => Math.floor(n.id / STRIDE) !== own);
  const heads: Head[] = [
    { head: "feature", form: "text" },
    ...(others ? [{ head: "layer", form: "text" as const }] : []),
    { head: "value", form: "number", text },
    { head: "label", form: "text" },
    ...(home.contrasted
      ? [
          { head: "q", form: "p" as const },
          { head: home.words.condition, form: "text" as const },
          { head: home.words.stratum, form: "text" as const },
        ]
      : []),
    { head: "", form: "text" },
  ];
  const lines = rows.map((n): Cell[] => [
    link(n.id),
    ...(others ? [layerName(home, n.id)] : []),
    n.value,
    n.label,
    ...(home.contrasted ? [n.q, spoken(n.direction) || null, n.lineage] : []),
    {
      value: null,
      node: <a href={href(["compare"], { a: nameOf(feature.id), b: nameOf(n.id) })}>compare</a>,
    },
  ]);
  return (
    <Table
      caption={`${capital(words)}${text ? ` (${text.split(";")[0]})` : ""}; chance: not stored`}
      heads={heads}
      rows={lines}
    />
  );
}

export function Links({ home, feature }: { home: Home; feature: Feature }) {
  if (!home.linked.length) return null;
  const rows = feature.links.map((k) => {
    const forth = k.id === feature.id,
      other = forth ? k.other : k.id;
    return { ...k, far: other, label: forth ? k.other_label : k.label };
  });
  return (
    <section aria-labelledby="links">
      <h2 id="links">Links with other layers</h2>
      {rows.length ? (
        <Table
          caption={`Features of other layers that fire together with ${nameOf(feature.id)}, strongest first`}
          heads={[
            { head: "feature", form: "text" },
            { head: "layer", form: "text" },
            { head: "by", form: "text" },
            { head: "value", form: "number" },
            { head: "p", form: "p", text: "over all partners, permuted" },
            { head: "tokens", form: "count", text: "on which both fire" },
            { head: "label", form: "text" },
          ]}
          rows={rows.map((k): Cell[] => [
            link(k.far),
            layerName(home, k.far),
            k.kind,
            k.value,
            tested(k.p),
            k.tokens,
            k.label,
          ])}
        />
      ) : (
        <p class="empty">No link with another layer is known.</p>
      )}
    </section>
  );
}
