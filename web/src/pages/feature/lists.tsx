// What models of genes, cells and documents tell of a feature: its genes, cell types, responses to
// perturbations, documents, what it depends on, and every number of its row.
import { Bars, Heat, rowsHeight } from "../../chart/charts";
import { Figure } from "../../chart/figure";
import type { Feature, Home } from "../../data/format";
import { nameOf } from "../../data/names";
import { href } from "../../route";
import { filled, geneCell, tested } from "../../ui/cells";
import { number, show } from "../../ui/show";
import { Table, type Cell, type Head } from "../../ui/table";

const DRAWN = 20;

export function Genes({ home, feature }: { home: Home; feature: Feature }) {
  if (!feature.genes.length) return null;
  const rows = feature.genes,
    has = (key: "value" | "fires" | "tokens") => rows.some((g) => g[key] !== null);
  // of some layers a release has the names alone
  const heads: Head[] = [
    { head: "rank", form: "count" },
    { head: "gene", form: "text" },
    ...(has("value")
      ? [{ head: "value", form: "number" as const, text: "by which the list is ranked" }]
      : []),
    ...(has("fires")
      ? [{ head: "fires", form: "count" as const, text: "tokens of the gene on which it fires" }]
      : []),
    ...(has("tokens") ? [{ head: "tokens", form: "count" as const, text: "tokens of the gene" }] : []),
  ];
  const drawn = rows.slice(0, DRAWN).filter((g) => g.value !== null),
    height = rowsHeight(drawn.length, false);
  return (
    <section aria-labelledby="genes">
      <h2 id="genes">Genes</h2>
      <div class="pair tall">
        {drawn.length ? (
          <Figure
            home={home}
            name={`${nameOf(feature.id)}-genes`}
            title="First genes of its list, by what the list is ranked by"
            alt={drawn.map((g) => `${g.gene} ${show(g.value, "number")}`).join(", ")}
            note="A gene ranks by its mean where the feature fires: once is enough. Chance: not stored."
            data={{
              heads: [
                { head: "gene", form: "text" },
                { head: "value", form: "number" },
              ],
              rows: drawn.map((g): Cell[] => [g.gene, g.value]),
            }}
            width={560}
            height={height}
          >
            <Bars
              width={560}
              height={height}
              xLabel="value"
              form="number"
              rows={drawn.map((g) => ({ label: g.gene, value: g.value, href: href(["gene", g.gene]) }))}
            />
          </Figure>
        ) : null}
        <Table
          caption={`Genes of ${nameOf(feature.id)} in the order of its list`}
          heads={heads}
          rows={rows.map((g): Cell[] => [
            g.rank,
            geneCell(g.gene),
            ...(has("value") ? [g.value] : []),
            ...(has("fires") ? [g.fires] : []),
            ...(has("tokens") ? [g.tokens] : []),
          ])}
        />
      </div>
    </section>
  );
}

export function CellTypes({ feature }: { feature: Feature }) {
  if (!feature.celltypes.length) return null;
  return (
    <section aria-labelledby="celltypes">
      <h2 id="celltypes">Cell types</h2>
      <Table
        caption="Each type against all others, within donors"
        {...filled(
          [
            { head: "cell type", form: "text" },
            { head: "effect", form: "signed" },
            { head: "mean", form: "number" },
            { head: "p", form: "p" },
            { head: "q", form: "p" },
            { head: "donors", form: "count" },
          ],
          feature.celltypes.map((t): Cell[] => [t.cell_type, t.effect, t.mean, t.p, tested(t.q), t.donors]),
        )}
      />
    </section>
  );
}

export function Responses({ home, feature }: { home: Home; feature: Feature }) {
  if (!home.has.includes("perturbations")) return null;
  return (
    <section aria-labelledby="responses">
      <h2 id="responses">Responses to perturbations</h2>
      {feature.responses.length ? (
        <Table
          caption="Perturbed genes to which it responds, strongest first"
          {...filled(
            [
              { head: "target", form: "text" },
              { head: "effect", form: "signed" },
              { head: "p", form: "p" },
              { head: "q", form: "p" },
              { head: "cells", form: "count", text: "control cells in which it fires" },
            ],
            feature.responses.map((r): Cell[] => [geneCell(r.target), r.effect, r.p, tested(r.q), r.cells]),
          )}
        />
      ) : (
        <p class="empty">No response to a perturbation is known.</p>
      )}
    </section>
  );
}

export function DocumentsOf({ home, feature }: { home: Home; feature: Feature }) {
  if (!feature.documents.length) return null;
  const word = home.words.document;
  return (
    <section aria-labelledby="documents">
      <h2 id="documents">{word.charAt(0).toUpperCase() + word.slice(1)}s in which it fires</h2>
      <Table
        caption={`On most tokens first; "features" is how many features fire in the ${word}`}
        {...filled(
          [
            { head: word, form: "text" },
            { head: "tokens", form: "count", text: "on which it fires" },
            { head: "activation", form: "number", text: "summed over them" },
            { head: "class", form: "text" },
            { head: "features", form: "count" },
          ],
          feature.documents.map((d): Cell[] => [d.document, d.tokens, d.activation, d.side, d.degree]),
        )}
      />
    </section>
  );
}

export function Dependency({ home, feature }: { home: Home; feature: Feature }) {
  const map = feature.dependency;
  if (!map) return null;
  const largest = Math.max(0, ...map.cells.flat().filter((x): x is number => x !== null));
  const size = Math.min(Math.max(16 * map.pieces.length + 110, 320), 720);
  return (
    <section aria-labelledby="dependency">
      <h2 id="dependency">Dependency map</h2>
      <Figure
        home={home}
        name={`${nameOf(feature.id)}-dependency`}
        title={`What it depends on in ${map.document}`}
        alt={
          `Change of the feature on each piece (columns) when one (rows) is substituted: ` +
          `${map.pieces.length} pieces of ${map.document}; the largest change is ${number(largest)}`
        }
        note={
          `Rows: substituted, columns: read; itself is hatched. The largest change is ${number(largest)}; ` +
          "chance: not stored."
        }
        data={{
          heads: [
            { head: "substituted", form: "text" },
            ...map.pieces.map((p) => ({ head: p, form: "number" as const })),
          ],
          rows: map.cells.map((row, i) => [map.pieces[i]!, ...row]),
        }}
        width={size}
        height={size}
      >
        <Heat
          width={size}
          height={size}
          rows={map.pieces}
          columns={map.pieces}
          cells={map.cells}
          label="change"
        />
      </Figure>
    </section>
  );
}

/** Every number of its row in the features table, with what it is. */
export function Row({ home, feature }: { home: Home; feature: Feature }) {
  const filled = home.columns.filter((c) => c.filled);
  return (
    <section aria-labelledby="row">
      <h2 id="row">All numbers</h2>
      <Table
        caption="Its row in the features table"
        heads={[
          { head: "column", form: "text" },
          { head: "value", form: "text" },
          { head: "meaning", form: "text" },
        ]}
        rows={filled.map((c): Cell[] => [c.head || c.name, show(feature.values[c.name], c.form), c.text])}
      />
    </section>
  );
}
