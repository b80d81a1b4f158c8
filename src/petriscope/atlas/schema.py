"""An atlas file is one SQLite database; its tables, columns, identifiers and version are declared
here (standard library only).

A feature's identifier is ``layer * 1,000,000 + index``; people read and type ``L6/1234``. Every
column except keys may be NULL: a partial run makes a partial atlas. Genomic intervals are 0-based
and half-open, as in BED.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from petriscope.claims import NOT_SUPPORTED, SUPPORTED, UNTESTABLE

APPLICATION_ID = 0x50545243
VERSION = 9
READABLE = (8, VERSION)
"""Formats that this program reads; 8 lacks the tables that later ones brought."""
ID_CODE = "i"
LAYER_STRIDE = 1_000_000
LINEAGE_PREFIX = "t_"

Kind = Literal["integer", "real", "text"]
Format = Literal["count", "number", "signed", "p", "share", "text", "id", "flag"]


class Thresholds(NamedTuple):
    """What the run judged its features by: the atlas carries it, and whoever asks reads it here."""

    alpha: float
    """A feature depends on context, and a term is enriched, where q is below this (`cds.alpha`)."""
    stable: float
    """Other seeds find a feature again from this cosine on (`cds.stable`)."""

    @property
    def causal(self) -> float:
        """An ablation matters from this percentile among random ones on: p is at most alpha."""
        return 1 - self.alpha


@dataclass(frozen=True)
class Column:
    """One column: SQL name and type, the head it carries in a table, how to print it, and what it
    means."""

    name: str
    kind: Kind
    head: str = ""
    form: Format = "number"
    text: str = ""
    required: bool = False
    indexed: bool = False


class Declared(NamedTuple):
    """What a study's tables have beyond the columns of every study; the file carries it, so that
    whoever reads it knows the words."""

    unit: str = "unit"
    """what a unit is called: biosample, sequence, cell."""
    stratum: str = "stratum"
    """what the groups are called within which units are compared, and the column of the units that
    names theirs: lineage, cell type."""
    condition: str = "condition"
    """the column of the units that says which side they are on."""
    document: str = "document"
    """what the graph joins features to: a sequence, a text, a cell."""
    reference: str = "reference"
    target: str = "target"
    """the two sides: values of that column, and of the features' direction."""
    units: tuple[Column, ...] = ()
    """of a unit: lineage, context, donor."""
    contexts: tuple[Column, ...] = ()
    """of a place where features fire: the sequence of a bin, the position of a k-mer, the
    expression of a gene."""
    features: tuple[Column, ...] = ()


WORDS = ("unit", "stratum", "condition", "document", "reference", "target")
"""Fields of `Declared` that are words."""


def _real(name: str, head: str, form: Format, text: str, indexed: bool = True) -> Column:
    return Column(name, "real", head, form, text, indexed=indexed)


FEATURES = (
    Column(
        "layer",
        "integer",
        "layer",
        "count",
        "0 is the input to the first block, k the stream after block k",
        True,
    ),
    Column("feature", "integer", "index", "count", "position in the layer's dictionary", True),
    Column(
        "alive",
        "integer",
        "alive",
        "flag",
        "1 if it fires often enough to be compared (cds.min_events)",
        indexed=True,
    ),
    _real("density", "density", "share", "share of tokens on which it fires"),
    _real("mean_activation", "mean act", "number", "mean activation where it fires"),
    _real(
        "cds_published",
        "CDS pub",
        "signed",
        "published divergence score: mean over lineages of in vivo - in vitro",
    ),
    _real("p_published", "p pub", "p", "published sign-flip p (#/N, no correction for dependence)"),
    _real(
        "cds", "CDS t", "signed", "corrected divergence score: signed combination of per-lineage t"
    ),
    _real("p", "p", "p", "p of the corrected score"),
    _real("q", "q", "p", "q of the corrected score over alive features x layers x lineages (BH)"),
    _real("effect", "g", "signed", "Hedges g, in vivo - in vitro"),
    _real("lo", "g lo", "signed", "95 % interval of g, lower end (block bootstrap)", indexed=False),
    _real("hi", "g hi", "signed", "95 % interval of g, upper end (block bootstrap)", indexed=False),
    Column(
        "n_units",
        "integer",
        "units",
        "count",
        "independent units behind p (biosamples or locus blocks)",
    ),
    Column("level", "text", "level", "text", "what a unit is: biosample or locus"),
    Column("lineage", "text", "lineage", "text", "lineage of the strongest effect", indexed=True),
    Column(
        "direction",
        "text",
        "context",
        "text",
        "context in which it is higher: in_vivo or in_vitro",
        indexed=True,
    ),
    _real("stability", "stable", "number", "decoder cosine of its best match in other seeds (0-1)"),
    _real(
        "causal_effect",
        "causal",
        "number",
        "mean |change of prediction| when this feature alone is ablated",
    ),
    _real(
        "causal_percentile",
        "causal %",
        "share",
        "percentile of that effect among matched random features",
    ),
    Column("module", "integer", "module", "count", "co-activation module", indexed=True),
    Column("label", "text", "label", "text", "short name from its best annotations", indexed=True),
    _real("confidence", "conf", "share", "confidence in the label (0-1)"),
)

TABLES: dict[str, tuple[Column, ...]] = {
    "features": FEATURES,
    "lineage_effects": (
        Column("layer", "integer", required=True),
        Column("feature", "integer", required=True),
        Column("lineage", "text", required=True),
        *(
            Column(name, "real")
            for name in (
                "t",
                "p",
                "q",
                "mean_vivo",
                "mean_vitro",
                "effect",
                "lo",
                "hi",
                "auroc",
                "log2_fold",
            )
        ),
        Column("n_units", "integer"),
    ),
    "units": (Column("unit", "text", text="name of the unit", required=True),),
    "activation": (
        Column("layer", "integer", required=True),
        Column("feature", "integer", required=True),
        Column("unit", "text", required=True),
        Column("mean", "real", text="mean over all tokens of the unit"),
        Column("density", "real", text="share of tokens on which it fires"),
        Column("maximum", "real", text="upper edge of the histogram"),
        Column(
            "histogram",
            "text",
            text="counts of firing tokens in equal bins of (0, maximum], a list of integers",
        ),
    ),
    "contexts": (
        Column("layer", "integer", required=True),
        Column("feature", "integer", required=True),
        Column("unit", "text", required=True),
        Column("activation", "real", required=True),
        Column(
            "name",
            "text",
            text="how people write the place, one name a place: a bin, a k-mer in a sequence, a "
            "gene in a cell",
            required=True,
        ),
        Column("chrom", "text", text="where it lies on a genome, if it does"),
        Column("start", "integer"),
        Column("end", "integer"),
    ),
    "annotations": (
        Column("layer", "integer", required=True),
        Column("feature", "integer", required=True),
        Column(
            "kind",
            "text",
            text="the kind of annotation (`enrich.kinds`): chromhmm, motif, geneset",
            required=True,
        ),
        Column("term", "text", required=True),
        Column("scope", "text", text="biosample or lineage it was tested in; empty for all"),
        Column("estimate", "real", text="effect of the kind: an odds ratio or a fold enrichment"),
        *(Column(name, "real") for name in ("lo", "hi", "p", "q")),
        Column("rank", "integer"),
        Column("genes", "text", text="genes behind a gene set hit, comma-separated"),
        Column(
            "specificity",
            "real",
            text="motif: log2 odds in the feature's own lineage less the mean of the others",
        ),
        *(
            Column(name, "real", text="95 % interval")
            for name in ("specificity_low", "specificity_high")
        ),
    ),
    "motif_hits": (
        Column("chrom", "text", required=True),
        Column("start", "integer", required=True),
        Column("end", "integer", required=True),
        Column("strand", "text"),
        Column("motif", "text", required=True),
        Column("score", "real"),
    ),
    "similar": (
        Column("layer", "integer", required=True),
        Column("feature", "integer", required=True),
        Column("other_layer", "integer", required=True),
        Column("other_feature", "integer", required=True),
        Column(
            "kind",
            "text",
            text="decoder (cosine of decoder rows) or coactivation (PMI or correlation)",
            required=True,
        ),
        Column("value", "real", required=True),
    ),
    "documents": (
        Column("name", "text", required=True),
        Column("side", "text", text="reference or target, as the study calls them"),
        Column("detail", "text", text="what people want to know of it, in a line"),
        Column("content", "text", text="the text itself, where it is short enough to show"),
        Column("degree", "integer", text="features that fire in it, those left out here too"),
        Column("chrom", "text", text="where it lies on a genome, if it does"),
        Column("start", "integer"),
        Column("end", "integer"),
    ),
    "edges": (
        Column("layer", "integer", required=True),
        Column("feature", "integer", required=True),
        Column("document", "text", text="name of the document", required=True),
        Column("tokens", "integer", text="its tokens on which the feature fires", required=True),
        Column("activation", "real", text="summed over them"),
        Column("spans", "text", text="where in its content they lie: 12-18,60-66"),
    ),
    "maps": (
        Column("layer", "integer", required=True),
        Column("feature", "integer", required=True),
        Column("document", "text", text="name of the document", required=True),
        Column("pieces", "text", text="its pieces, separated by blanks", required=True),
        Column(
            "cells",
            "text",
            text="JSON: how the feature changes on each piece (columns) when a piece (rows) is "
            "substituted; null on itself",
            required=True,
        ),
    ),
    "layers": (
        Column("layer", "integer", required=True),
        *(Column(name, "real") for name in ("fvu", "l0", "dead", "loss_recovered")),
        Column("alive", "integer"),
        Column("n_context", "integer", text="features with q < alpha"),
        *(
            Column(name, "real")
            for name in (
                "fraction",
                "lo",
                "hi",
                "random_init_fraction",
                "random_init_lo",
                "random_init_hi",
            )
        ),
        *(Column(name, "real") for name in ("stable_fraction", "published_fraction")),
        Column("n_published", "integer"),
        Column("model", "text", text="whose layer it is, where the atlas holds several models"),
        Column("depth", "integer", text="its number in that model"),
    ),
    "curves": (
        Column("analysis", "text", text="ablation or steering", required=True),
        Column("layer", "integer"),
        Column("feature", "integer", text="given where the curve belongs to one feature"),
        Column("lineage", "text"),
        Column("arm", "text", required=True),
        Column("x", "real", text="k (ablation) or alpha (steering)", required=True),
        *(Column(name, "real") for name in ("estimate", "lo", "hi")),
        Column("n", "integer"),
    ),
    "claims": (
        Column("claim", "text", required=True),
        Column("statement", "text", required=True),
        *(Column(name, "text") for name in ("published", "as_published", "corrected")),
        Column("interval", "text", text="95 % interval and what it is of"),
        Column("control", "text", text="the control's number, or what the control is"),
        Column("verdict", "text", text=f"{SUPPORTED}, {NOT_SUPPORTED} or {UNTESTABLE}"),
        Column("rule", "text", text="the rule behind the verdict, over metrics of stages"),
        Column("note", "text"),
    ),
    "run": (Column("key", "text", required=True), Column("value", "text")),
    "genes": (
        Column("symbol", "text", required=True),
        Column("chrom", "text", required=True),
        Column("tss", "integer", required=True),
        Column("strand", "text"),
    ),
    "chromhmm_states": (
        Column("name", "text", required=True),
        Column("number", "integer"),
        Column("colour", "text", text="#rrggbb, or r,g,b as in BED"),
    ),
    "feature_genes": (
        Column("layer", "integer", required=True),
        Column("feature", "integer", required=True),
        Column("rank", "integer", text="place in the feature's list, from 1", required=True),
        Column("gene", "text", required=True),
        Column("value", "real", text="by which the list is ranked"),
        Column("fires", "integer", text="tokens of the gene on which the feature fires"),
        Column("tokens", "integer", text="tokens of the gene"),
    ),
    "modules": (
        Column("graph", "text", text="of which graph of features: pmi, gene, phi", required=True),
        Column("layer", "integer", required=True),
        Column("module", "integer", text="its number in the layer", required=True),
        Column("size", "integer", text="features in it"),
        Column("label", "text", text="terms that most of its features are annotated with"),
        Column("density", "real", text="edges inside, of all pairs"),
        Column("stability", "real", text="overlap with its best match under other seeds (0-1)"),
    ),
    "module_members": (
        Column("graph", "text", required=True),
        Column("layer", "integer", required=True),
        Column("module", "integer", required=True),
        Column("feature", "integer", required=True),
    ),
    "module_edges": (
        Column("graph", "text", required=True),
        Column("layer", "integer", required=True),
        Column("module", "integer", required=True),
        Column("other_module", "integer", text="of the same graph and layer", required=True),
        Column("weight", "real", text="links between features of the two", required=True),
        Column(
            "null_weight",
            "real",
            text="links that the degrees of their features lead to expect, were they dealt out "
            "at random (configuration model)",
            required=True,
        ),
    ),
    "layout": (
        Column("layer", "integer", required=True),
        Column("feature", "integer", required=True),
        Column("x", "real", text="where a map draws the feature", required=True),
        Column("y", "real", required=True),
    ),
    "layout_made": (
        Column("method", "text", text="how the positions were made, in words", required=True),
        Column("seed", "integer", text="of its start vector", required=True),
        Column("parameters", "text", required=True),
        Column("share_x", "real", text="of the variance along x", required=True),
        Column("share_y", "real", text="of the variance along y", required=True),
    ),
    "links": (
        Column("layer", "integer", required=True),
        Column("feature", "integer", required=True),
        Column("other_layer", "integer", required=True),
        Column("other_feature", "integer", required=True),
        Column("kind", "text", text="what value is: pmi, z, r", required=True),
        Column("value", "real", required=True),
        Column("tokens", "integer", text="on which both fire"),
        Column(
            "p", "real", text="by chance, within genes: over all partners (z), over all pairs (r)"
        ),
    ),
    "numbers": (
        Column("name", "text", text="what was measured", required=True),
        Column("layer", "integer"),
        Column("other_layer", "integer", text="given where it is of a pair of layers"),
        Column("value", "real", required=True),
        *(Column(name, "real", text="95 % interval") for name in ("lo", "hi")),
        Column("null", "real", text="what chance gives"),
        Column("n", "integer", text="units behind it"),
        Column("unit", "text", text="what they are"),
        Column("note", "text"),
    ),
    "perturbations": (
        Column("target", "text", text="the gene that was changed", required=True),
        Column("layer", "integer", text="of the features that may respond", required=True),
        Column("kind", "text", text="transcription factor, other"),
        Column("known", "integer", text="its known targets"),
        Column("cells", "integer", text="that were perturbed"),
        Column("responding", "integer", text="features"),
        Column("specific", "integer", text="of them with a known target among their genes"),
        Column("estimate", "real", text="regulon score of the responding features"),
        Column("null", "real", text="what chance gives for that, or P(specific) by chance"),
        *(Column(name, "real") for name in ("p", "q")),
        Column("note", "text"),
    ),
    "responses": (
        Column("target", "text", required=True),
        Column("layer", "integer", required=True),
        Column("feature", "integer", required=True),
        Column("effect", "real", required=True),
        *(Column(name, "real") for name in ("p", "q")),
        Column("cells", "integer", text="control cells in which it fires"),
    ),
    "celltypes": (
        Column("layer", "integer", required=True),
        Column("feature", "integer", required=True),
        Column("cell_type", "text", required=True),
        Column("effect", "real", text="of the type against all others, within donors"),
        *(Column(name, "real") for name in ("mean", "p", "q")),
        Column("donors", "integer"),
    ),
}

# What lies in the file, besides features, units and contexts, whose columns a study adds to. Keys
# and places are normalized: the identifiers of terms, units and contexts stand for their
# names. ``orders`` holds every sorting of the features ready to use, as little-endian 32-bit
# identifiers, the ``filled`` cells first.
DDL = """
CREATE TABLE orders(column TEXT PRIMARY KEY, filled INTEGER, ids BLOB);
CREATE TABLE lineage_effects(id INTEGER, lineage TEXT, t REAL, p REAL, q REAL, mean_vivo REAL,
  mean_vitro REAL, effect REAL, lo REAL, hi REAL, auroc REAL, log2_fold REAL, n_units INTEGER,
  PRIMARY KEY(id, lineage)) WITHOUT ROWID;
CREATE TABLE columns(place TEXT, number INTEGER, name TEXT, kind TEXT, head TEXT, form TEXT,
  text TEXT, indexed INTEGER, PRIMARY KEY(place, number)) WITHOUT ROWID;
CREATE TABLE activation(id INTEGER, unit INTEGER, mean REAL, density REAL, maximum REAL,
  histogram TEXT, PRIMARY KEY(id, unit)) WITHOUT ROWID;
CREATE TABLE top(id INTEGER, unit INTEGER, rank INTEGER, context INTEGER, activation REAL,
  PRIMARY KEY(id, unit, rank)) WITHOUT ROWID;
CREATE TABLE terms(term INTEGER PRIMARY KEY, kind TEXT, name TEXT, features INTEGER);
CREATE TABLE annotations(id INTEGER, kind TEXT, rank INTEGER, term INTEGER, scope TEXT,
  estimate REAL, lo REAL, hi REAL, p REAL, q REAL, genes TEXT, specificity REAL,
  specificity_low REAL, specificity_high REAL,
  PRIMARY KEY(id, kind, rank, term, scope)) WITHOUT ROWID;
CREATE TABLE similar(id INTEGER, kind TEXT, rank INTEGER, other INTEGER, value REAL,
  PRIMARY KEY(id, kind, rank)) WITHOUT ROWID;
CREATE TABLE layers(layer INTEGER PRIMARY KEY, fvu REAL, l0 REAL, dead REAL, loss_recovered REAL,
  alive INTEGER, n_context INTEGER, fraction REAL, lo REAL, hi REAL, random_init_fraction REAL,
  random_init_lo REAL, random_init_hi REAL, stable_fraction REAL, published_fraction REAL,
  n_published INTEGER, model TEXT, depth INTEGER);
CREATE TABLE density_histogram(layer INTEGER, decade REAL, features INTEGER,
  PRIMARY KEY(layer, decade)) WITHOUT ROWID;
CREATE TABLE layer_flow(layer INTEGER, other_layer INTEGER, features INTEGER, continued INTEGER,
  context_features INTEGER, context_continued INTEGER, mean_cosine REAL,
  PRIMARY KEY(layer, other_layer)) WITHOUT ROWID;
CREATE TABLE curves(row INTEGER PRIMARY KEY, analysis TEXT, layer INTEGER, id INTEGER,
  lineage TEXT, arm TEXT, x REAL, estimate REAL, lo REAL, hi REAL, n INTEGER);
CREATE TABLE claims(number INTEGER PRIMARY KEY, claim TEXT, statement TEXT, published TEXT,
  as_published TEXT, corrected TEXT, interval TEXT, control TEXT, verdict TEXT, rule TEXT,
  note TEXT);
CREATE TABLE thresholds(name TEXT PRIMARY KEY, value REAL) WITHOUT ROWID;
CREATE TABLE run(key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
CREATE VIRTUAL TABLE terms_fts USING fts5(name, content='terms', content_rowid='term',
  tokenize='trigram');
CREATE VIRTUAL TABLE labels_fts USING fts5(label, content='features', content_rowid='id',
  tokenize='trigram');
"""

INDEXES = """
CREATE INDEX contexts_place ON contexts(chrom, gbin, start);
CREATE INDEX top_context ON top(context, activation);
CREATE INDEX terms_kind ON terms(kind, name);
CREATE INDEX annotations_term ON annotations(term, q);
CREATE INDEX similar_other ON similar(other);
CREATE INDEX curves_of ON curves(analysis, id, layer);
"""

OPTIONAL: dict[str, tuple[str, str]] = {
    "motif_hits": (
        """CREATE TABLE motif_hits(hit INTEGER PRIMARY KEY, chrom TEXT, start INTEGER,
  "end" INTEGER, gbin INTEGER, strand TEXT, motif TEXT, score REAL);""",
        "CREATE INDEX motif_hits_place ON motif_hits(chrom, gbin, start);",
    ),
    "documents": (
        """CREATE TABLE documents(document INTEGER PRIMARY KEY, name TEXT UNIQUE, side TEXT,
  detail TEXT, content TEXT, degree INTEGER, chrom TEXT, start INTEGER, "end" INTEGER);""",
        "",
    ),
    "edges": (
        """CREATE TABLE edges(id INTEGER, document INTEGER, tokens INTEGER, activation REAL,
  spans TEXT, PRIMARY KEY(id, document)) WITHOUT ROWID;""",
        "CREATE INDEX edges_of ON edges(document, tokens);",
    ),
    "maps": (
        "CREATE TABLE maps(id INTEGER PRIMARY KEY, document TEXT, pieces TEXT, cells TEXT);",
        "",
    ),
    "genes": (
        """CREATE TABLE genes(gene INTEGER PRIMARY KEY, symbol TEXT COLLATE NOCASE, chrom TEXT,
  tss INTEGER, strand TEXT);""",
        """CREATE INDEX genes_symbol ON genes(symbol);
CREATE INDEX genes_place ON genes(chrom, tss);""",
    ),
    "chromhmm_states": (
        """CREATE TABLE chromhmm_states(name TEXT PRIMARY KEY, number INTEGER, colour TEXT)
  WITHOUT ROWID;""",
        "",
    ),
    "feature_genes": (
        """CREATE TABLE feature_genes(id INTEGER, rank INTEGER, gene INTEGER, value REAL,
  fires INTEGER, tokens INTEGER, PRIMARY KEY(id, rank)) WITHOUT ROWID;""",
        "CREATE INDEX feature_genes_of ON feature_genes(gene, rank);",
    ),
    "modules": (
        """CREATE TABLE modules(number INTEGER PRIMARY KEY, graph TEXT, layer INTEGER,
  module INTEGER, size INTEGER, label TEXT, density REAL, stability REAL);""",
        "",
    ),
    "module_members": (
        """CREATE TABLE module_members(number INTEGER, id INTEGER, PRIMARY KEY(number, id))
  WITHOUT ROWID;""",
        "CREATE INDEX module_members_of ON module_members(id);",
    ),
    "module_edges": (
        """CREATE TABLE module_edges(number INTEGER, other INTEGER, weight REAL,
  null_weight REAL, PRIMARY KEY(number, other)) WITHOUT ROWID;""",
        "CREATE INDEX module_edges_other ON module_edges(other);",
    ),
    "layout": (
        "CREATE TABLE layout(id INTEGER PRIMARY KEY, x REAL, y REAL);",
        "",
    ),
    "layout_made": (
        """CREATE TABLE layout_made(method TEXT, seed INTEGER, parameters TEXT, share_x REAL,
  share_y REAL);""",
        "",
    ),
    "links": (
        """CREATE TABLE links(id INTEGER, kind TEXT, other_layer INTEGER, rank INTEGER,
  other INTEGER, value REAL, tokens INTEGER, p REAL,
  PRIMARY KEY(id, kind, other_layer, rank)) WITHOUT ROWID;""",
        "CREATE INDEX links_other ON links(other);",
    ),
    "numbers": (
        """CREATE TABLE numbers(number INTEGER PRIMARY KEY, name TEXT, layer INTEGER,
  other_layer INTEGER, value REAL, lo REAL, hi REAL, "null" REAL, n INTEGER, unit TEXT,
  note TEXT);""",
        "",
    ),
    "perturbations": (
        """CREATE TABLE perturbations(number INTEGER PRIMARY KEY, target TEXT, layer INTEGER,
  kind TEXT, known INTEGER, cells INTEGER, responding INTEGER, specific INTEGER, estimate REAL,
  "null" REAL, p REAL, q REAL, note TEXT);""",
        "",
    ),
    "responses": (
        """CREATE TABLE responses(number INTEGER, rank INTEGER, id INTEGER, effect REAL, p REAL,
  q REAL, cells INTEGER, PRIMARY KEY(number, rank)) WITHOUT ROWID;""",
        "CREATE INDEX responses_of ON responses(id);",
    ),
    "celltypes": (
        """CREATE TABLE celltypes(id INTEGER, rank INTEGER, cell_type TEXT, effect REAL, mean REAL,
  p REAL, q REAL, donors INTEGER, PRIMARY KEY(id, rank)) WITHOUT ROWID;""",
        "CREATE INDEX celltypes_of ON celltypes(cell_type, q);",
    ),
}
"""SQL of the tables that lie in a file only if its study fills them, and of their indexes."""

_NAME = re.compile(r"[Ll](\d{1,3})[/:.](\d{1,6})")


def feature_id(layer: int, feature: int) -> int:
    """The identifier of feature ``feature`` of ``layer``."""
    return int(layer) * LAYER_STRIDE + int(feature)


def feature_name(identifier: int) -> str:
    """The name people read, as ``L6/1234``."""
    layer, feature = divmod(identifier, LAYER_STRIDE)
    return f"L{layer}/{feature}"


def parse_feature(text: str) -> int | None:
    """The identifier behind ``L6/1234``, or None where ``text`` is not such a name."""
    match = _NAME.fullmatch(text.strip())
    return feature_id(int(match[1]), int(match[2])) if match else None


def declared_ddl(lineages: list[str], declared: Declared) -> str:
    """SQL that makes the tables to which a study adds columns: features, units, contexts."""
    fold = {"text": " COLLATE NOCASE"}
    features = [
        f'"{c.name}" {c.kind.upper()}{fold.get(c.kind, "")}'
        for c in feature_columns(lineages, declared)
    ]
    units, contexts = (
        [f'"{c.name}" {c.kind.upper()}' for c in more]
        for more in (declared.units, declared.contexts)
    )
    place = ["name TEXT", "chrom TEXT", "start INTEGER", '"end" INTEGER', "gbin INTEGER"]
    return (
        f"CREATE TABLE features({', '.join(['id INTEGER PRIMARY KEY', *features])});"
        "CREATE TABLE units("
        f"{', '.join(['number INTEGER PRIMARY KEY, unit TEXT UNIQUE', *units])});"
        f"CREATE TABLE contexts({', '.join(['context INTEGER PRIMARY KEY', *place, *contexts])});"
    )


def feature_columns(lineages: list[str], declared: Declared) -> tuple[Column, ...]:
    """Columns of the features table: those of every study, the study's own, one t per lineage."""
    return (*FEATURES, *declared.features, *lineage_columns(lineages))


def features_indexes(lineages: list[str], declared: Declared) -> str:
    """SQL that makes one covering index per sortable column of the features table."""
    names = [c.name for c in feature_columns(lineages, declared) if c.indexed]
    return "".join(f'CREATE INDEX "features_{name}" ON features("{name}");' for name in names)


def lineage_columns(lineages: list[str]) -> tuple[Column, ...]:
    """The per-lineage t columns, in the data set's order of lineages."""
    return tuple(
        Column(
            f"{LINEAGE_PREFIX}{x}", "real", f"t {x}", "signed", f"corrected t in {x}", indexed=True
        )
        for x in lineages
    )
