"""The atlas answers with these: small named records, plain Python values inside."""

from __future__ import annotations

from typing import Any, NamedTuple


class Interval(NamedTuple):
    """An estimate with its 95 % interval."""

    estimate: float | None
    lo: float | None
    hi: float | None


class LineageEffect(NamedTuple):
    """The contrast of one feature in one lineage."""

    lineage: str
    t: float | None
    p: float | None
    q: float | None
    mean_vivo: float | None
    mean_vitro: float | None
    effect: float | None
    lo: float | None
    hi: float | None
    auroc: float | None
    log2_fold: float | None
    n_units: int | None


class Unit(NamedTuple):
    """Who is replicated; ``values`` by the names of the columns that the study declares."""

    name: str
    values: dict[str, Any]


class Activation(NamedTuple):
    """How one feature fires in one unit; ``histogram`` counts firing tokens in equal bins of (0,
    maximum]."""

    unit: Unit
    mean: float | None
    density: float | None
    maximum: float | None
    histogram: list[int]


class TopContext(NamedTuple):
    """One of the places where a feature fires hardest; on a genome where ``chrom`` is known.
    ``values`` by the names of the columns that the study declares."""

    id: int
    unit: Unit
    rank: int
    activation: float
    name: str
    chrom: str | None
    start: int
    end: int
    values: dict[str, Any]


class Annotation(NamedTuple):
    """One enrichment test of one feature."""

    term: str
    scope: str
    estimate: float | None
    lo: float | None
    hi: float | None
    p: float | None
    q: float | None
    rank: int
    genes: str | None
    specificity: float | None
    specificity_low: float | None
    specificity_high: float | None


class MotifHit(NamedTuple):
    """One motif occurrence on the genome."""

    start: int
    end: int
    strand: str | None
    motif: str
    score: float | None


class Gene(NamedTuple):
    """One transcription start site."""

    symbol: str
    chrom: str
    tss: int
    strand: str | None


class Neighbor(NamedTuple):
    """A similar feature."""

    id: int
    value: float
    layer: int
    lineage: str | None
    direction: str | None
    q: float | None
    label: str | None


class Document(NamedTuple):
    """What the graph joins features to."""

    name: str
    side: str | None
    detail: str | None
    content: str | None
    degree: int | None
    chrom: str | None
    start: int | None
    end: int | None


class Edge(NamedTuple):
    """A feature fires in a document."""

    id: int
    document: str
    tokens: int
    activation: float | None
    spans: str | None
    """where in the document's content the tokens lie: 12-18,60-66"""
    side: str | None
    """of the document"""
    degree: int | None
    """features that fire in the document"""
    label: str | None
    """of the feature"""
    density: float | None
    """share of all tokens on which the feature fires"""


class DependencyMap(NamedTuple):
    """What one feature depends on in one document."""

    document: str
    pieces: list[str]
    cells: list[list[float | None]]
    """change of the feature on each piece (columns) when one (rows) is substituted; None on
    itself"""


class ListedGene(NamedTuple):
    """A gene in a feature's list."""

    id: int
    rank: int
    gene: str
    value: float | None
    fires: int | None
    """tokens of the gene on which the feature fires"""
    tokens: int | None
    """tokens of the gene"""


class Module(NamedTuple):
    """A community of features."""

    number: int
    graph: str
    layer: int
    module: int
    size: int | None
    label: str | None
    density: float | None
    stability: float | None


class ModuleEdge(NamedTuple):
    """Two modules of one layer whose features fire together."""

    number: int
    other: int
    weight: float
    """links between features of the two"""
    null_weight: float
    """links that the degrees of their features lead to expect"""


class LayoutMade(NamedTuple):
    """How the positions of a map were made: they show likeness, and are no evidence."""

    method: str
    seed: int
    parameters: str
    share_x: float
    """of the variance along x"""
    share_y: float


class Link(NamedTuple):
    """Two features of two layers that fire together."""

    id: int
    other: int
    kind: str
    value: float
    tokens: int | None
    p: float | None
    label: str | None
    """of the first"""
    other_label: str | None


class Number(NamedTuple):
    """A measured number of a layer or of a pair of layers."""

    name: str
    layer: int | None
    other_layer: int | None
    value: float
    lo: float | None
    hi: float | None
    null: float | None
    """what chance gives"""
    n: int | None
    unit: str | None
    note: str | None


class Perturbation(NamedTuple):
    """A gene that was changed, and what responded."""

    number: int
    target: str
    layer: int
    kind: str | None
    known: int | None
    cells: int | None
    responding: int | None
    specific: int | None
    estimate: float | None
    null: float | None
    p: float | None
    q: float | None
    note: str | None


class Response(NamedTuple):
    """A feature that responds to a perturbation."""

    target: str
    id: int
    effect: float
    p: float | None
    q: float | None
    cells: int | None
    """control cells in which it fires"""
    label: str | None
    density: float | None


class CellType(NamedTuple):
    """A feature in one cell type against all others."""

    id: int
    cell_type: str
    effect: float | None
    mean: float | None
    p: float | None
    q: float | None
    donors: int | None


class Enriched(NamedTuple):
    """A feature that is enriched for a term."""

    id: int
    scope: str
    estimate: float | None
    q: float | None
    label: str | None


class Listed(NamedTuple):
    """How many features of a layer list a gene at a rank, or are annotated with a term."""

    layer: int
    rank: int
    features: int


class Layer(NamedTuple):
    """Quality and counts of one layer."""

    layer: int
    fvu: float | None
    l0: float | None
    dead: float | None
    loss_recovered: float | None
    alive: int | None
    n_context: int | None
    fraction: float | None
    lo: float | None
    hi: float | None
    random_init_fraction: float | None
    random_init_lo: float | None
    random_init_hi: float | None
    stable_fraction: float | None
    published_fraction: float | None
    n_published: int | None
    model: str | None
    """whose layer it is, where the atlas holds several models"""
    depth: int | None
    """its number in that model"""


class Flow(NamedTuple):
    """Features of one layer against their best decoder match in another.

    ``continued``: the cosine is at least the run's ``stable``; ``context_continued``: the match
    is a context feature (q < alpha) of the same direction as well.
    """

    layer: int
    other_layer: int
    features: int
    continued: int
    context_features: int
    context_continued: int
    mean_cosine: float | None


class CurvePoint(NamedTuple):
    """One point of an ablation (x = k) or steering (x = alpha) curve."""

    layer: int | None
    lineage: str | None
    arm: str
    x: float
    estimate: float | None
    lo: float | None
    hi: float | None
    n: int | None


class Claim(NamedTuple):
    """One row of the claims ledger."""

    claim: str
    statement: str
    published: str | None
    as_published: str | None
    corrected: str | None
    interval: str | None
    control: str | None
    verdict: str | None
    rule: str | None
    note: str | None


class Found(NamedTuple):
    """One search result: a vocabulary term (motif, gene set, state, gene), a feature or a
    region."""

    kind: str
    name: str
    features: int | None
    query: str


class Feature(NamedTuple):
    """Everything about one feature; ``values`` holds the columns of the features table by name."""

    id: int
    values: dict[str, Any]
    lineages: list[LineageEffect]
    activation: list[Activation]
    contexts: list[TopContext]
    neighbors: dict[str, list[Neighbor]]
    ablation: list[CurvePoint]
    steering: list[CurvePoint]
