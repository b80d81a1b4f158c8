// What the folder holds: the exporter (src/petriscope/web/export.py) writes exactly these shapes.
//
// Every file is data/NAME.js = P("NAME","<base64 of gzip>"). NAME may hold slashes: "f/12". chunk.ts
// knows how odd characters are written and how a chunk goes on in further files.
// JSON chunks hold UTF-8 JSON of the types below; binary chunks (col/*, flags) hold typed arrays,
// little-endian, whose bytes are shuffled: all first bytes of the items, then all second bytes, ...
//
// "id" is the atlas's identifier, layer * 1,000,000 + index; "row" is the place of a feature in
// the columns, which are ordered by (layer, index).

export const FORMAT = 2;

/** How a number is printed; the words of schema.Format. */
export type Form = "count" | "number" | "signed" | "p" | "share" | "text" | "id" | "flag";

export interface Column {
  name: string;
  kind: "integer" | "real" | "text";
  /** Head in a table. */
  head: string;
  form: Form;
  /** What it means. */
  text: string;
  /** How data/col/NAME.js stores it: f32 (missing NaN), u16 (missing 65535), i32 (missing
   * -2147483648), code (16 bits: 0 is missing, k is word k-1 of data/dict/NAME.js). Where those are
   * too narrow: f64 for reals that float32 would make 0 or infinite, code32 for over 65,535 words. */
  store: "f32" | "f64" | "u16" | "i32" | "code" | "code32";
  /** In the table that people see first. */
  shown: boolean;
  /** Whether any feature has a value; a column that is not filled has no chunk. */
  filled: boolean;
}

export interface Layer {
  layer: number;
  /** What people call it: its number, or model and depth where there are several models. */
  name: string;
  model: string | null;
  depth: number | null;
  /** Row of its first feature, and how many rows it has. */
  first: number;
  size: number;
  /** True where indexes run 0..size-1, so that row = first + index. */
  contiguous: boolean;
  /** The fields of records.Layer: fvu, l0, dead, loss_recovered, alive, n_context, fraction, lo, hi,
   * random_init_fraction, ..., stable_fraction, published_fraction, n_published. */
  values: Record<string, number | null>;
  /** [log10 density at the left edge of a half decade, features]. */
  densities: [number, number][];
  /** Features annotated with any term at q < alpha, by kind of annotation. */
  annotated: Record<string, number>;
}

/** A row of the table numbers: statistics of layers and of pairs of layers beside their null. */
export interface Measured {
  name: string;
  layer: number | null;
  other_layer: number | null;
  value: number;
  lo: number | null;
  hi: number | null;
  null: number | null;
  n: number | null;
  unit: string | null;
  note: string | null;
}

export interface Claim {
  claim: string;
  statement: string;
  published: string | null;
  as_published: string | null;
  corrected: string | null;
  interval: string | null;
  control: string | null;
  /** "supported", "not supported", "cannot be tested" (petriscope.claims). */
  verdict: string | null;
  rule: string | null;
  note: string | null;
}

export interface Flow {
  layer: number;
  other_layer: number;
  features: number;
  continued: number;
  context_features: number;
  context_continued: number;
  mean_cosine: number | null;
}

/** A kind of annotation: a record of enrich.kinds; Home.kinds lists all of KINDS in their order,
 * those that this atlas lacks too: they are words of the filter language. */
export interface Kind {
  name: string;
  /** Singular and plural in words: "gene set", "gene sets". */
  one: string;
  many: string;
  /** Words of the filter language; the first is the one to write. */
  filters: string[];
  /** Words of the estimate: "odds ratio", "fold". */
  estimate: string;
  scope: string | null;
  /** The stage that would fill it. */
  stage: string;
}

export interface Unit {
  unit: string;
  values: Record<string, string | number | null>;
}

/** data/home.js: all the overview needs. At most about 40 KB. */
export interface Home {
  format: number;
  program: string;
  /** Format of the SQLite atlas and sha256 of its bytes. */
  atlas: { format: number; sha256: string };
  /** The run card: dataset, description, model, seed, revision, study, ... (table run). */
  run: Record<string, string | null>;
  words: { unit: string; stratum: string; condition: string; document: string; reference: string; target: string };
  thresholds: { alpha: number; stable: number; causal: number };
  total: number;
  /** Features tested for a difference between two conditions at all? */
  contrasted: boolean;
  /** Features of a pack data/f/K.js: K = floor(row / pack). */
  pack: number;
  counts: Record<"alive" | "context" | "stable" | "causal" | "annotated" | "tested", number>;
  columns: Column[];
  strata: string[];
  units: Unit[];
  unit_columns: Column[];
  context_columns: Column[];
  layers: Layer[];
  claims: Claim[];
  flow: Flow[];
  kinds: Kind[];
  /** Official colours of chromatin states, #rrggbb. */
  states: Record<string, string>;
  /** Pairs of layers of data/graph/flow-A-B.js. */
  linked: [number, number][];
  /** Layers of data/graph/modules-GRAPH-L.js: [graph, layer, number of modules]. */
  modules: [string, number, number][];
  /** Chunks of data/place/K.js in order, each of one chromosome: [chrom, first start, last start,
   * largest end]. */
  places: [string, number, number, number][];
  /** How the positions of col/x and col/y were made; null: no map. */
  layout: { method: string; seed: number; parameters: string; share_x: number; share_y: number } | null;
  /** Other studies of data/compare.js; empty: none. */
  studies: string[];
  /** What lies in data/ beside columns: "numbers", "curves", "perturbations", "documents", "genes",
   * "terms", "kinds", "place", "celltypes", "kg", "compare". */
  has: string[];
  /** Documents of data/documents.js, those with most features, and of how many. */
  documents: [number, number];
  /** Tables of schema.OPTIONAL that the SQLite atlas holds: what gene: and celltype: mean depends
   * on them. */
  tables: string[];
  /** For each page that has nothing to show, a sentence that says why and names the stage. */
  empty: Record<string, string>;
}

/** data/numbers.js */
export type Numbers = Measured[];

/** data/rows/SORT.js (and SORT-down): the first 64 rows of a sorting; "layer" ascending is the first
 * screen. Values in the order of the shown columns; text as it is. */
export interface FirstRows {
  columns: string[];
  ids: number[];
  rows: (number | string | null)[][];
}

/** Bits of data/flags.js, one byte a feature. data/kinds.js has one too: bit k says that the feature
 * is enriched for a term of home.kinds[k]. */
export const FLAG = { alive: 1, context: 2, stable: 4, causal: 8, annotated: 16, tested: 32 } as const;

/** data/terms.js: the vocabulary of annotations without genes, in the order of the SQLite atlas's
 * term numbers; columns of equal length. */
export interface Terms {
  kind: string[];
  name: string[];
  /** Features enriched: NOT COALESCE(q, 0) >= alpha, so a term without q counts. */
  features: number[];
  /** Chunk data/post/K.js that holds term t's features, and its place there; -1: no feature. */
  chunk: number[];
}

/** data/post/K.js: term number (place in data/terms.js) -> features enriched for it (NOT COALESCE(q,
 * 0) >= alpha), most significant first; a feature that is enriched in several scopes has several
 * entries. The first 2,000 of `total` entries come with scope, estimate, lo, hi and q; where there are
 * more (total > q.length), row goes on with the further features, each once and in order: filters
 * need them. */
export type Posts = Record<string, { row: number[]; total: number; scope: string[]; estimate: (number | null)[]; lo: (number | null)[]; hi: (number | null)[]; q: (number | null)[] }>;

/** data/genes.js: the terms of kind gene in the order of their numbers: start sites (genomes) or
 * listed genes (models of cells). A gene with several start sites has a row for each. */
export interface Genes {
  name: string[];
  /** Features near it, or that list it. */
  features: (number | null)[];
  chrom: (string | null)[];
  tss: (number | null)[];
  strand: (string | null)[];
  /** Chunk data/listing/K.js that holds the features that list gene g; -1: none. */
  chunk: number[];
}

/** data/listing/K.js: gene number -> features that list it, highest rank first; total as in Posts. */
export type Listings = Record<string, { row: number[]; total: number; rank: number[]; value: (number | null)[]; fires: (number | null)[]; tokens: (number | null)[] }>;

/** data/place/K.js: top contexts on the genome in order of (chromosome, start). */
export interface Places {
  chrom: string[];
  start: number[];
  end: number[];
  row: number[];
  unit: number[];
  activation: number[];
}

/** data/celltypes.js: of each cell type the features that are higher in it (q < alpha, effect > 0). */
export interface CellTypes { name: string[]; rows: number[][] }

export interface Check {
  ask: string;
  found: string;
  holds: boolean | null;
  /** What it is compared with, in words: "q < .05", "95 % of matched random features"; never empty. */
  null: string;
}

export interface Effect {
  lineage: string;
  t: number | null; p: number | null; q: number | null;
  mean_vivo: number | null; mean_vitro: number | null;
  effect: number | null; lo: number | null; hi: number | null;
  auroc: number | null; log2_fold: number | null; n_units: number | null;
}

export interface Activation {
  /** Number of the unit in home.units. */
  unit: number;
  mean: number | null; density: number | null; maximum: number | null;
  histogram: number[];
}

export interface Context {
  unit: number; rank: number; activation: number; name: string;
  chrom: string | null; start: number | null; end: number | null;
  values: Record<string, string | number | null>;
  /** Start sites within 100 kb: [symbol, tss, strand]. */
  genes: [string, number, string | null][];
  /** Motif occurrences inside: [motif, start, end, strand, score]; null: not measured. */
  hits: [string, number, number, string | null, number | null][] | null;
}

export interface Annotation {
  term: string; scope: string;
  estimate: number | null; lo: number | null; hi: number | null;
  p: number | null; q: number | null;
  /** q < alpha; of kinds that score without a test (enrich.kinds.SCORED), any without q. */
  enriched: boolean;
  genes: string | null;
  specificity: number | null; specificity_low: number | null; specificity_high: number | null;
}

export interface Neighbor { id: number; value: number; label: string | null; q: number | null; direction: string | null; lineage: string | null }

export interface CurvePoint { layer: number | null; lineage: string | null; arm: string; x: number; estimate: number | null; lo: number | null; hi: number | null; n: number | null }

/** The evidence on the page of a feature, as it lies in data/f/K.js. */
export interface Feature {
  id: number;
  /** Every column of the features table. */
  values: Record<string, number | string | null>;
  /** Five requirements; where nothing is contrasted, those that were measured. */
  checks: Check[];
  effects: Effect[];
  activation: Activation[];
  /** The strongest first, at most 64 of contexts_total. */
  contexts: Context[];
  contexts_total: number;
  /** By kind of annotation; kinds that were not tested are absent. */
  annotations: Record<string, Annotation[]>;
  /** By kind of similarity: decoder, coactivation. */
  neighbors: Record<string, Neighbor[]>;
  ablation: CurvePoint[];
  steering: CurvePoint[];
  genes: { rank: number; gene: string; value: number | null; fires: number | null; tokens: number | null }[];
  links: { id: number; other: number; kind: string; value: number; tokens: number | null; p: number | null; label: string | null; other_label: string | null }[];
  celltypes: { cell_type: string; effect: number | null; mean: number | null; p: number | null; q: number | null; donors: number | null }[];
  responses: { target: string; effect: number; p: number | null; q: number | null; cells: number | null }[];
  documents: { document: string; tokens: number; activation: number | null; side: string | null; degree: number | null }[];
  dependency: { document: string; pieces: string[]; cells: (number | null)[][] } | null;
  /** Modules it belongs to: [graph, module]. */
  modules: [string, number][];
}

/** Columns of equal length by name, or columns again. */
export type Packed = { [name: string]: unknown[] | Packed };

/** Rows of consecutive features, column by column: the rows of the k-th feature lie before ends[k]. */
export type PackedTable = { ends: number[] } & Packed;

/** data/f/K.js: consecutive features, column by column (`feature.ts` makes a Feature of it); a table
 * without rows is absent. */
export interface Pack {
  id: number[];
  values: Packed;
  contexts_total: number[];
  /** What the checks ask and what they compare with; the column `ask` of the table counts in it. */
  asks: [string, string][];
  tables: Record<string, PackedTable>;
  /** By place in the pack. */
  dependency: Record<string, NonNullable<Feature["dependency"]>>;
}

/** data/curves.js: curves of layers and of the run (not of single features). */
export interface Curves { ablation: CurvePoint[]; steering: CurvePoint[] }

export interface Module {
  graph: string; layer: number; module: number;
  size: number | null; label: string | null;
  density: number | null; stability: number | null;
  /** Identifiers of its features, in order. */
  members: number[];
  /** Labels of the members and the share of tokens on which each fires, in the order of `members`. */
  labels?: (string | null)[];
  densities?: (number | null)[];
  /** Terms that its features are enriched for most often: [kind, term, features of the module,
   * features of the layer, features expected by chance, hypergeometric p] against as many of the
   * layer's alive features, drawn at random; those with the least p first. */
  terms: [string, string, number, number, number, number][];
  x: number; y: number;
}

/** data/graph/modules-GRAPH-L.js */
export interface ModuleGraph {
  layer: number; graph: string; modules: Module[];
  /** [a, b, weight, null]: links between modules; null is what degree alone gives; empty: not stored. */
  edges: [number, number, number, number | null][];
}

/** data/graph/flow-A-B.js: links between the features of two layers. */
export interface FlowGraph {
  layer: number; other_layer: number;
  /** Whose modules they are; null: features have none. */
  graph?: string | null;
  /** Links of the pair in the atlas, of which `links` holds the strongest. */
  total?: number;
  /** Links with p < alpha, which `modules` counts; null: no link has a p, and all are counted. */
  significant?: number | null;
  /** Modules that the links run between: [module of a, module of b, links, expected by chance]; -1: none. */
  modules: [number, number, number, number][];
  /** Strongest links first. */
  links: Feature["links"];
}

/** data/perturbations.js */
export type Perturbations = {
  target: string; layer: number; kind: string | null; known: number | null; cells: number | null;
  responding: number | null; specific: number | null; estimate: number | null; null: number | null;
  p: number | null; q: number | null; note: string | null;
  /** Strongest first: [id, effect, p, q]. */
  responses: [number, number, number | null, number | null][];
}[];

/** data/graph/kg.js: features with the documents they fire in (weight: tokens), the terms they are
 * enriched for and the first genes of their lists (weight 1); nodes at most a few thousand. The
 * kinds are "feature", the study's word for documents, kinds of annotation and "gene". */
export interface KnowledgeGraph {
  kinds: string[];
  /** Node columns: kind (number in kinds), name, degree, PageRank (closed form, every edge counts
   * once), and its mean and middle 95 % over rewirings that keep every node's degree. */
  kind: number[]; name: string[]; degree: number[]; pagerank: (number | null)[]; null_pagerank: (number | null)[];
  null_low?: (number | null)[]; null_high?: (number | null)[];
  /** Edge columns: node numbers and weight. */
  a: number[]; b: number[]; weight: number[];
  /** Features with an edge in the atlas, of which the graph holds some. */
  features?: number;
}

/** data/documents.js: what the graph joins features to. `features`: [id, tokens on which it fires,
 * summed activation, where in the content they lie: "12-18,60-66"], most tokens first. */
export type Documents = { name: string; side: string | null; detail: string | null; content: string | null; degree: number | null; chrom: string | null; start: number | null; end: number | null; features: [number, number, number | null, (string | null)?][] }[];

/** data/compare.js: layers matched against layers, studies against studies. */
export interface Compare {
  studies: { study: string; model: string; revision: string | null }[];
  /** [id, study, other id, cosine, null q99, mutual]. */
  matches: [number, string, number, number, number | null, boolean][];
}
