// How the numbers were made, in words of the run card and of the atlas; licenses, citation, how to
// check the folder, and what its files hold.
import { href } from "../route";
import { Table } from "../ui/table";
import { methods } from "./methods";
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
        The <a href={href([])}>overview</a> has the ledger, <a href={href(["controls"])}>controls</a> what
        each claim is held against.
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
  ["kinds.js", "the kinds of annotation that a feature is enriched for: one byte a feature"],
  ["f/K.js", "all evidence of consecutive features"],
  ["terms.js, genes.js, post/K.js, listing/K.js", "names that can be searched, and the features behind each"],
  ["gene/K.js, sites/K.js", "a gene by its name, start sites by their chromosome"],
  ["place/K.js", "top contexts in the order of the genome"],
  ["graph/NAME.js", "modules, flows between layers, knowledge graph"],
  [
    "numbers.js, curves.js, perturbations.js, documents.js, compare.js",
    "what their pages show; absent where the run made none",
  ],
];

export const about: PageOf = { path: "about", nav: "About", title: () => "About", Page };
