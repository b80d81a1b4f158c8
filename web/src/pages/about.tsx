// How the numbers were made, in words of the run card and of the atlas; licenses, citation, how to
// check the folder, and what its files hold.
import type { Home } from "../data/format";
import { href } from "../route";
import { bound, show } from "../ui/show";
import { Table } from "../ui/table";
import { RunCard } from "./overview";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return (
    <>
      <h1>About this atlas</h1>
      <h2>Methods</h2>
      <ol class="methods">
        {methods(home).map(([head, text]) => (
          <li key={head}>
            <strong>{head}.</strong> {text}
          </li>
        ))}
      </ol>
      <p class="note">
        Every claim is given as published and corrected; its rule was written down before its numbers were
        looked at. The <a href={href([])}>overview</a> has the ledger,{" "}
        <a href={href(["controls"])}>controls</a> what each claim is held against.
      </p>
      <h2>The run</h2>
      <RunCard home={home} />
      <h2>Licenses</h2>
      <p>
        Petriscope is MIT licensed; the libraries in this page are listed with their licenses in{" "}
        <a href="LICENSES.txt">LICENSES.txt</a>. Data keep the license of their source
        {home.run["licence"]
          ? `; this data set's: ${home.run["licence"]}`
          : "; the file dataset.yaml of the data set names its own"}
        .
      </p>
      <Table
        caption="Sources that Petriscope's data sets draw on"
        heads={[
          { head: "source", form: "text" },
          { head: "license or terms", form: "text" },
        ]}
        rows={LICENSES}
      />
      <h2>How to cite</h2>
      <p>
        The Petriscope authors.{" "}
        <cite>
          Petriscope: sparse-autoencoder probes of foundation models of biology, with calibrated statistics,
          causal tests and controls
        </cite>
        , version {home.program}. Name the data set, the seed and the atlas's sha256 with it; they stand in
        the footer and in every saved file.
        {home.run["paper"] ? ` The atlas was released with ${home.run["paper"]}; cite that too.` : ""}
      </p>
      <h2>How to verify</h2>
      <p>
        <code>petriscope atlas verify FOLDER</code> compares every file with the sha256 that{" "}
        <code>manifest.json</code> lists. The folder was derived from the SQLite atlas with sha256{" "}
        <code class="breaks">{home.atlas.sha256}</code>; <code>petriscope atlas export</code> of that atlas
        with version {home.program} writes the same bytes again. Numbers are stored as the SQLite atlas has
        them, columns in single precision; verdicts are stored flags, the page recomputes none.
      </p>
      <h2>Files</h2>
      <p>
        The folder works from a disk, from any static host and from an archive; it asks no other host for
        anything. A file <code>data/NAME.js</code> holds base64 of gzip, of JSON or of a column of numbers.
      </p>
      <Table
        caption={`Format ${home.format}: files under data/`}
        heads={[
          { head: "file", form: "text" },
          { head: "holds", form: "text" },
        ]}
        rows={FILES.map(([name, text]) => [{ value: name!, node: <code>{name}</code> }, text!])}
      />
    </>
  );
}

/** What was done, in the order in which it was done; what this atlas lacks is left out. */
function methods(home: Home): [string, string][] {
  const { run, words, thresholds } = home,
    alpha = bound(thresholds.alpha);
  const filled = (name: string) => home.columns.some((c) => c.name === name && c.filled);
  const out: [string, string][] = [];
  const add = (head: string, text: string | null | undefined | false) => {
    if (text) out.push([head, text]);
  };
  const given = (...names: string[]) =>
    names
      .map((name) => run[name])
      .filter(Boolean)
      .join("; ");
  add("Source", run["source"] && `${run["source"]}. ${run["nulls"] ? `Nulls: ${run["nulls"]}.` : ""}`);
  add("Model", given("model", "models") && `${given("model", "models", "model_r")}.`);
  add(
    "Layers",
    run["layers"]
      ? `${run["layers"]}.`
      : "layer 0 is the input of the first block, layer k the stream after block k.",
  );
  add(
    "Autoencoders",
    `${run["sae"] ? `${run["sae"]}. ` : ""}One sparse autoencoder a layer; FVU, L0 and dead share are measured on tokens held out from its training.`,
  );
  add(
    "Alive features",
    filled("alive") && "only features that fire often enough to be compared enter shares and tests.",
  );
  add(
    "Contrast",
    home.contrasted &&
      `${words.target.replaceAll("_", " ")} against ${words.reference.replaceAll("_", " ")}. The ${words.unit} is the unit of replication; the statistic is a moderated t, combined over ${words.stratum === "stratum" ? "strata" : `${words.stratum}s`} by signed Stouffer. A context feature has q < ${alpha} (Benjamini–Hochberg over all layers).`,
  );
  add(
    "Null model",
    home.layers.some((l) => l.values["random_init_fraction"] != null) &&
      "the same analysis of a randomly initialized model of the same architecture.",
  );
  add(
    "Stability",
    filled("stability") &&
      `a feature is stable when autoencoders trained from other seeds have a decoder direction with cosine of at least ${bound(thresholds.stable)}.`,
  );
  const kinds = home.kinds.filter((k) => home.layers.some((l) => (l.annotated[k.name] ?? 0) > 0));
  add(
    "Annotation",
    kinds.length > 0 &&
      `${kinds.map((k) => `${k.many} (${k.estimate})`).join(", ")}, each test against a background of the same layer, q < ${alpha}.`,
  );
  add(
    "Causal tests",
    home.has.includes("curves") &&
      `ablation and steering on test data, beside arms drawn at random and matched; a feature counts as causal above ${show(thresholds.causal, "share")} of matched random features.`,
  );
  add(
    "Modules",
    home.modules.length > 0 &&
      `communities of the graphs ${[...new Set(home.modules.map(([graph]) => graph.replaceAll("_", " ")))].join(", ")} of features that fire together.`,
  );
  add(
    "Perturbations",
    home.has.includes("perturbations") &&
      "responses of features to perturbed genes, against matched sets of features.",
  );
  add(
    "Map",
    home.layout !== null &&
      `${home.layout.method} (seed ${home.layout.seed}; ${home.layout.parameters}). Position is not evidence.`,
  );
  return out;
}

const LICENSES = [
  ["simulated demo data of EpiBERT's study", "CC BY 4.0"],
  ["simulated demo data of the studies of Nucleotide Transformer and of Geneformer and scGPT", "CC0 1.0"],
  ["motif matrices, JASPAR CORE 2024", "CC BY 4.0"],
  ["ENCODE", "unrestricted; cite the experiment"],
  ["Roadmap Epigenomics ChromHMM", "unrestricted; cite doi:10.1038/nature14248"],
  ["GENCODE v43", "open access; cite doi:10.1093/nar/gkaa1087"],
  ["Gene Ontology, library by Enrichr", "CC BY 4.0"],
  ["hg38 and phyloP, UCSC", "free for any use; cite doi:10.1093/nar/gkac1072"],
  ["released EpiBERT weights", "terms on the Zenodo record 14504049"],
  ["Nucleotide Transformer weights", "CC BY-NC-SA 4.0, never shipped"],
  ["tables of Hidden State Genomics, loci of PlatRNA-seq", "CC0 1.0; cite 2025.12.20.694502"],
];

const FILES = [
  ["home.js", "run card, claims, layers, counts, columns: all that the overview needs"],
  ["rows/SORT.js", "the first 64 rows of each sorting"],
  ["col/NAME.js, dict/NAME.js", "one column of all features, and the words of a text column"],
  ["flags.js", "alive, context, stable, causal, annotated, tested: one byte a feature"],
  ["f/K.js", "all evidence of consecutive features"],
  ["terms.js, genes.js, post/K.js, listing/K.js", "names that can be searched, and the features behind each"],
  ["place/K.js", "top contexts in the order of the genome"],
  ["graph/NAME.js", "modules, flows between layers, knowledge graph"],
  [
    "numbers.js, curves.js, perturbations.js, documents.js, compare.js",
    "what their pages show; absent where the run made none",
  ],
];

export const about: PageOf = { path: "about", nav: "About", title: () => "About", Page };
