"""Small atlases that hold what is hard to match: every kind of annotation, empty cells, ties, words
that differ in case or script, quotes, wildcards, start sites side by side, and a numbering of
features with gaps. Their numbers mean nothing."""

from __future__ import annotations

import random

import pandas as pd

from petriscope.atlas.build import AtlasTables
from petriscope.atlas.schema import Column, Declared, Thresholds
from petriscope.enrich.kinds import KINDS

ALPHA = 0.05
WORDS = (
    "GATA1 Tss",
    "gata1 tss",
    "GATA1",
    "HNF4A liver",
    "Müller glia",
    "MÜLLER GLIA",
    "straße",
    "STRASSE",
    "α-Synuclein",
    "Α-SYNUCLEIN",
    "ΑΣ end ς",
    "µm scale",
    "ſtrange",
    "İstanbul",
    "10% of cells",
    "a_b",
    "a\\b",
    'the "quoted" one',
    "it's",
    "fl",
    "F",
    "zz*top",
    "\U0001d4d0 script",
    "￮ wide",
    "Été",
    "ÉTÉ",
    "B cell, naive",
    "-minus",
    "q<.01",
)
TERMS = (
    *WORDS,
    "HNF4A",
    "HNF4A.2",
    "HNF4G",
    "GATA2",
    "GATA3(Zf)",
    "lipid metabolic process (GO:0006629)",
    "lipid transport (GO:0006869)",
    "immune response",
    "Immune Response",
    "TssA",
    "Enh",
    "EnhA1",
    "exon",
    "H3K27ac",
    "STRING",
    "AAAAAA",
    "AAAA",
)
GENES = ("APOB", "apob", "GATA1", "Gata1", "MYC", "α1AT", "HBB", "HBA1", "A", "CD3", "TP53", "TP63")
FAMILIES = ("ZNF", "ZNF7", "ZFP", "KRTAP", "KRTAP1-", "OR", "OR1A", "HIST1H")
CROWD = tuple(sorted({f"{family}{n}" for family in FAMILIES for n in range(1, 90)}))
CROWD += tuple(f"ZNF{n}" for n in range(800, 1000))
"""With more genes that share a trigram than the search has SQLite rank."""


def genome_tables() -> AtlasTables:
    """Features with top contexts on a genome, start sites near some of them."""
    draw = random.Random(11)
    features = _features(draw, layers=(0, 1, 7), gaps=True)
    return AtlasTables(
        features=features,
        thresholds=Thresholds(ALPHA, 0.7),
        contexts=_contexts(draw, features),
        annotations=_annotations(draw, features),
        genes=pd.DataFrame(
            [
                (gene, chrom, draw.randrange(1, 900_000), draw.choice("+-"))
                for gene in (*GENES, *CROWD)
                for chrom in draw.sample(("chr1", "chr22", "scaffold_1"), draw.choice((1, 1, 2)))
            ],
            columns=["symbol", "chrom", "tss", "strand"],
        ),
        declared=_declared(),
    )


def cells_tables() -> AtlasTables:
    """Features of two models that list genes and tell cell types."""
    draw = random.Random(12)
    features = _features(draw, layers=(0, 1, 2, 3), gaps=False)
    keys = list(zip(features["layer"], features["feature"]))
    lists = [
        (*key, rank, gene, round(draw.random(), 3), draw.randrange(9), draw.randrange(9, 99))
        for key in draw.sample(keys, 150)
        for rank, gene in enumerate(draw.sample(GENES, draw.randrange(1, 5)), 1)
    ]
    types = [
        (*key, name, round(draw.uniform(-2, 2), 3), draw.choice((0.001, 0.049, 0.05, 0.5, None)))
        for key in draw.sample(keys, 150)
        for name in draw.sample(("monocyte", "B cell", "Monocyte CD14", "Müller", "T_reg"), 2)
    ]
    names = ["layer", "feature", "rank", "gene", "value", "fires", "tokens"]
    return AtlasTables(
        features=features,
        thresholds=Thresholds(ALPHA, 0.7),
        annotations=_annotations(draw, features),
        feature_genes=pd.DataFrame(lists, columns=names),
        celltypes=pd.DataFrame(types, columns=["layer", "feature", "cell_type", "effect", "q"]),
        layers=pd.DataFrame(
            [(0, "one", 0), (1, "one", 1), (2, "two", 0), (3, "two", 1)],
            columns=["layer", "model", "depth"],
        ),
        declared=_declared(),
    )


def bare_tables() -> AtlasTables:
    """A partial run: features alone."""
    frame = pd.DataFrame({"layer": 0, "feature": range(5), "density": [0.1, None, 0.1, 0.5, 0]})
    return AtlasTables(features=frame, thresholds=Thresholds(ALPHA, 0.7))


def _declared() -> Declared:
    return Declared(
        features=(
            Column("family", "text", "family", "text", "a word of the study's own"),
            Column("reads", "integer", "reads", "count", "too many for 16 bits"),
            Column("tiny", "real", "tiny", "p", "less than float32 holds"),
        )
    )


def _features(draw: random.Random, layers: tuple[int, ...], gaps: bool) -> pd.DataFrame:
    def maybe(value: object, share: float = 0.8) -> object:
        return value if draw.random() < share else None

    rows = []
    for layer in layers:
        index = range(0, 240, 3) if gaps and layer else range(90)
        for feature in index:
            rows.append(
                {
                    "layer": layer,
                    "feature": feature,
                    "alive": maybe(draw.choice((0, 1, 1))),
                    "density": maybe(round(draw.random() ** 4, 3)),
                    "cds": maybe(round(draw.gauss(0, 3), 1)),
                    "p": maybe(draw.choice((0.001, 0.01, 0.05, 0.25, 1.0))),
                    "q": maybe(draw.choice((0.001, 0.01, 0.049, 0.05, 0.051, 0.25, 1.0))),
                    "effect": maybe(draw.choice((-1.5, -0.1, 0.0, -0.0, 0.1, 0.3, 2.0))),
                    "n_units": maybe(draw.randrange(1, 9)),
                    "level": maybe(draw.choice(("biosample", "locus"))),
                    "lineage": maybe(draw.choice(("blood", "liver", "Liver", "B cell"))),
                    "direction": maybe(draw.choice(("in_vivo", "in_vitro", "IN_VIVO"))),
                    "stability": maybe(draw.choice((0.69, 0.7, 0.71, 0.1))),
                    "causal_percentile": maybe(draw.choice((0.94, 0.95, 0.96, 0.2))),
                    "module": maybe(draw.randrange(12)),
                    "label": maybe(draw.choice(WORDS)),
                    "t_blood": maybe(round(draw.gauss(0, 2), 2)),
                    "t_B cell": maybe(round(draw.gauss(0, 2), 2)),
                    "family": maybe(draw.choice(("abc", "ABC", "Abd", "éa", "Éa", "zeta", "_x"))),
                    "reads": maybe(draw.choice((-5, 0, 65_535, 65_536, 1_000_000))),
                    "tiny": maybe(draw.choice((0.0, 1e-300, 1e-60, 1.5e-60, 1e-5, 0.1))),
                }
            )
    frame = pd.DataFrame(rows, dtype=object)
    whole = ["layer", "feature"]
    return frame.astype({name: int for name in whole})


def _contexts(draw: random.Random, features: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for layer, feature in zip(features["layer"], features["feature"]):
        for unit in draw.sample(("u1", "u2"), draw.randrange(3)):
            start = draw.randrange(1_000_000)
            chrom = draw.choice(("chr1", "chr1", "chr22", "scaffold_1", None))
            width = draw.choice((128, 128, 2_000, 300_000))
            name = f"{chrom}:{start}" if chrom else f"k-mer {start}"
            place = (chrom, start, start + width) if chrom else (None, None, None)
            rows.append((layer, feature, unit, round(draw.random(), 3), name, *place))
    columns = ["layer", "feature", "unit", "activation", "name", "chrom", "start", "end"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.astype({"chrom": object, "start": object, "end": object})


def _annotations(draw: random.Random, features: pd.DataFrame) -> pd.DataFrame:
    keys = list(zip(features["layer"], features["feature"]))
    rows = []
    for kind in KINDS:
        for term in draw.sample(TERMS, 24):
            for layer, feature in draw.sample(keys, draw.choice((1, 3, 12, 40))):
                q = draw.choice((0.001, 0.049, 0.05, 0.3, None))
                scope = draw.choice(("s1", "s2")) if kind.scope else None
                rows.append((layer, feature, kind.name, term, scope, q, q, 1.5))
    columns = ["layer", "feature", "kind", "term", "scope", "p", "q", "estimate"]
    return pd.DataFrame(rows, columns=columns)
