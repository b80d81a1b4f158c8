"""The audit of the comparative atlas recomputes from the released tables what its paper states
(arXiv 2603.02952), and what the same tables say beyond it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse, stats

from petriscope.claims import NOT_SUPPORTED, SUPPORTED, UNTESTABLE
from petriscope.enrich.genesets import GeneSets, incidence, read_gmt
from petriscope.enrich.tails import benjamini_hochberg, log_hypergeometric_tail
from petriscope.run.released import read_released
from petriscope.studies.cells.numbering import NAMES
from petriscope.studies.cells.params import FAMILIES
from petriscope.studies.cells.released import (
    EDGES,
    GENE,
    LISTED,
    Released,
    annotations_file,
    beside,
)

POSITIONS = 4_056_351
"""of Geneformer's harvest, 2,000 cells"""
CELLS, KNOCKED_DOWN = 2000, 20
"""cells of the harvest, and of each knock-down"""
FLOOR = 1e-5
"""least standard deviation by which an effect was divided (variance 1e-10, 09:425-427)"""
RARE = 40
"""firings below which a feature is called near-dead"""
EFFECT = 0.5
"""|effect| from which a feature was said to respond"""
CAUSAL_LAYER = 11
ALPHA = 0.05
SIZES = (5, 500)
"""genes of an admitted term"""
RESPONSES = "geneformer_perturbation_response.json.gz"
FIRST = "top 5"
TRRUST = "trrust_v2_human.tsv.gz"
REACTOME = "reactome_pathways.gmt.gz"
NOT_HERE = "not recomputed"
NOT_STATED = "not stated"
ALIVE = {"geneformer": 82_525, "scgpt": 24_527}
ANNOTATED = {"geneformer": 43_268, "scgpt": 7_595}
RATES = {"geneformer": (45, 59), "scgpt": (29, 34)}
"""% annotated, over layers"""
MODULES = {"geneformer": 141, "scgpt": 76}
COVERAGE = {"geneformer": 98.4, "scgpt": 96.3}
"""% of alive features in a module"""
SPECIFICITY = {"geneformer": 2.36, "scgpt": 0.975}
HIGHWAYS: Mapping[str, Mapping[str, float | str]] = {
    "geneformer": {"L00_L05": 98.4, "L05_L11": 97.4, "L11_L17": 99.8},
    "scgpt": dict.fromkeys(("L00_L04", "L04_L08", "L08_L11"), NOT_STATED),
}
"""Pair of layers → % of features"""
CELL_TYPES = 56
Known = Mapping[str, frozenset[str]]
"""transcription factor → its known targets"""


class Checked(NamedTuple):
    """One row: what the paper says beside what the released tables say."""

    claim: str
    stated: float | str
    recomputed: float | str
    how: str
    """the computation in words"""
    holds: bool | None = None
    """whether the tables bear the statement out; None where nothing was stated or computed"""
    control: str = ""
    """what the number is to be read against"""

    @property
    def verdict(self) -> str:
        """One of the three words of a ledger."""
        if self.holds is None:
            return UNTESTABLE
        return SUPPORTED if self.holds else NOT_SUPPORTED


class Value(NamedTuple):
    """A number recomputed."""

    recomputed: float | str
    how: str
    holds: bool | None = None
    control: str = ""


@dataclass(frozen=True)
class Row:
    """A row that can be made where its files are there."""

    claim: str
    stated: float | str
    needs: tuple[str, ...]
    make: Callable[[], Value]


class Chance(NamedTuple):
    """Number of transcription factors that random features would make specific."""

    p: np.ndarray
    """(48,) of each factor"""
    mass: np.ndarray
    """P(number = k), k = 0 …"""

    @classmethod
    def of(cls, p: np.ndarray) -> Chance:
        """The sum of independent events of these probabilities."""
        mass = np.ones(1)
        for one in p:
            mass = np.convolve(mass, [1 - one, one])
        return cls(p, mass)

    @property
    def expected(self) -> float:
        return float(self.p.sum())

    def at_least(self, k: int) -> float:
        """P(number ≥ k)."""
        return float(self.mass[k:].sum())

    def __str__(self) -> str:
        low, high = np.searchsorted(self.mass.cumsum(), [0.05, 0.95])
        return (
            f"{self.expected:.2f} expected, 90 % range {low}-{high}, P(3 or more) "
            f"{self.at_least(3):.2f}, P(5 or more) {self.at_least(5):.3f}"
        )


def chance(rows: pd.DataFrame, known: Known, lists: Mapping[int, frozenset[str]]) -> Chance:
    """What the published rule (09:480-520) gives for random features: a factor is specific if the
    list of any of its responding features holds the factor or one of its known targets.

    ``rows`` — of `factors`; ``lists`` — feature → its genes. Responding features are drawn with
    replacement.
    """
    holders: dict[str, set[int]] = {}
    for feature, genes in lists.items():
        for gene in genes:
            holders.setdefault(gene, set()).add(feature)
    p = []
    for factor, responding in zip(rows.gene, rows.nr):
        wanted = known.get(factor, frozenset()) | {factor}
        share = len(set().union(*(holders.get(gene, set()) for gene in wanted))) / len(lists)
        p.append(1 - (1 - share) ** int(responding))
    return Chance.of(np.array(p))


class Families(NamedTuple):
    """Shares of a layer's alive features with any enriched term, by the family of tests."""

    published: float
    """overlaps of 2 and more alone are tests; sets are not cut to the background"""
    admitted: float
    """every term of the cut size is a test of every listed feature"""
    alive: float
    """... of every alive feature"""
    within: float
    """BH within each feature"""
    terms: int
    background: int


def families(lists: Mapping[int, frozenset[str]], sets: GeneSets, alive: int) -> Families:
    """The same lists by three families of tests; background: all genes of the lists."""
    background = sorted({gene for genes in lists.values() for gene in genes})
    index = {gene: i for i, gene in enumerate(background)}
    n, low, high = len(background), *SIZES
    rows = np.repeat(np.arange(len(lists)), [len(genes) for genes in lists.values()])
    columns = [index[gene] for genes in lists.values() for gene in sorted(genes)]
    member = sparse.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(len(lists), n))
    drawn = np.diff(member.indptr)

    whole = GeneSets({t: g for t, g in sets.sets.items() if low <= len(g) <= high}, ())
    terms, matrix = incidence(whole, index, 1, high)
    size = np.array([len(whole.sets[term]) for term in terms])
    found = (member @ matrix).tocoo()
    tested = found.data >= 2
    overlap, row = found.data[tested], found.row[tested]
    ln_p = log_hypergeometric_tail(overlap, n, size[found.col[tested]], drawn[row])
    hit = benjamini_hochberg(ln_p) < ALPHA

    terms, matrix = incidence(sets, index, *SIZES)
    size = np.asarray(matrix.sum(0)).ravel()
    found = (member @ matrix).tocoo()
    table = np.zeros((len(lists), len(terms)))
    table[found.row, found.col] = log_hypergeometric_tail(
        found.data, n, size[found.col], drawn[found.row]
    )
    admitted, every = (
        float((benjamini_hochberg(table, rows * len(terms)) < ALPHA).any(1).sum() / alive)
        for rows in (len(lists), alive)
    )
    within = sum((benjamini_hochberg(row) < ALPHA).any() for row in table) / alive
    return Families(
        len(np.unique(row[hit])) / alive,
        admitted,
        every,
        within,
        len(terms),
        n,
    )


def gene_lists(annotations: pd.DataFrame) -> dict[int, frozenset[str]]:
    """Feature → its top 20 genes."""
    genes = annotations[annotations.kind == GENE]
    return {int(f): frozenset(names) for f, names in genes.groupby("feature").name}


def audit(
    released: Released,
    known: Known | None = None,
    sets: GeneSets | None = None,
) -> list[Checked]:
    """Every row of the audit; one whose file is missing says so.

    ``known``: transcription factor → its targets; ``sets``: a collection of gene sets.
    """
    return [_checked(released, row) for row in _rows(released, known, sets)]


def _checked(released: Released, row: Row) -> Checked:
    missing = [name for name in row.needs if not released.has(name)]
    if missing:
        return Checked(row.claim, row.stated, NOT_HERE, f"no {', '.join(missing)} here")
    return Checked(row.claim, row.stated, *row.make())


def _rows(released: Released, known: Known | None, sets: GeneSets | None) -> Iterator[Row]:
    for family in FAMILIES:
        yield from _features(released, family)
    for family in FAMILIES:
        yield from _annotations(released, family, sets)
    for family in FAMILIES:
        yield from _modules(released, family)
    yield from _svd(released)
    for family in FAMILIES:
        yield from _causal(released, family)
        yield from _highways(released, family)
    yield from _persistence(released)
    yield from _perturbations(released, known)
    for family in FAMILIES:
        yield from _celltypes(released, family)
    yield from _novel(released)


def _features(released: Released, family: str) -> Iterator[Row]:
    """Alive, annotated, how often they fire."""
    name, file = NAMES[family], f"{family}_features.tsv.gz"

    def alive() -> Value:
        frame = released.features(family)
        n = int((frame.dead == 0).sum())
        return Value(n, f"of {len(frame):,}", n == ALIVE[family])

    def annotated() -> Value:
        frame = released.features(family)
        n, total = int((frame.n_annotations > 0).sum()), int((frame.dead == 0).sum())
        return Value(n, f"{100 * n / total:.1f} % of {total:,} alive", n == ANNOTATED[family])

    def rates() -> Value:
        frame = released.features(family)
        frame = frame[frame.dead == 0]
        rate = 100 * (frame.n_annotations > 0).groupby(frame.layer).mean()
        low, high = round(rate.min()), round(rate.max())
        how = f"lowest at layer {rate.idxmin()}, highest at layer {rate.idxmax()}"
        return Value(f"{low}-{high}", how, (low, high) == RATES[family])

    def firing() -> Value:
        frame = released.features(family)
        total = frame.groupby("layer").freq.sum()
        how = f"sum of the shares of positions, over layers {total.min():.2f}-{total.max():.2f}"
        return Value(float(total.mean()), how, bool(abs(total - 32).max() < 0.1))

    def rare() -> Value:
        frame = released.features(family)
        frame = frame[frame.dead == 0]
        share = 100 * float((frame.fires < 100).mean())
        return Value(share, f"median share of positions {frame.freq.median():.4f}")

    def deciles() -> Value:
        frame = released.features(family)
        frame = frame[frame.dead == 0]
        rank = frame.freq.rank(method="first")
        decile = np.minimum((10 * (rank - 1) / len(frame)).astype(int), 9)
        rate = (frame.n_annotations > 0).groupby(decile).mean()
        how = "share annotated by decile of frequency: a depth profile must be adjusted for it"
        return Value(" ".join(f"{x:.2f}" for x in rate), how)

    low, high = RATES[family]
    yield Row(f"{name}: alive features", ALIVE[family], (file,), alive)
    yield Row(f"{name}: annotated features", ANNOTATED[family], (file,), annotated)
    yield Row(f"{name}: annotated, % by layer", f"{low}-{high}", (file,), rates)
    yield Row(f"{name}: active features per position", 32, (file,), firing)
    yield Row(
        f"{name}: alive features that fire on fewer than 100 positions, %",
        NOT_STATED,
        (file,),
        rare,
    )
    yield Row(f"{name}: annotated by how often they fire", NOT_STATED, (file,), deciles)


def _annotations(released: Released, family: str, sets: GeneSets | None) -> Iterator[Row]:
    """What the annotated share rests on: pairs of genes, flukes, edges, the family of tests."""
    for layer in sorted({*LISTED[family], *released.annotated_layers(family)}):
        needs = (annotations_file(family, layer),)
        at = f"{NAMES[family]} layer {layer}"
        of = (released, family, layer)
        for claim, make in (
            ("significant entries with an overlap of 2, %", partial(_pairs, *of)),
            ("entries of gene lists that fired once, %", partial(_once, *of)),
            ("annotated by edges alone, %", partial(_edges, *of)),
        ):
            yield Row(f"{at}: {claim}", NOT_STATED, needs, make)
        yield Row(
            f"{at}: annotated, all admitted terms in the family, %",
            NOT_STATED,
            (*needs, f"{family}_features.tsv.gz"),
            partial(_families, *of, sets),
        )


def _pairs(released: Released, family: str, layer: int) -> Value:
    """Entries of ontologies: an edge has no overlap."""
    table = released.annotations(family, layer)
    terms = table[~table.kind.isin([GENE, *EDGES])]
    share = 100 * float((terms["count"] == 2).mean())
    return Value(share, f"of {len(terms):,} entries; lists hold 20 genes")


def _once(released: Released, family: str, layer: int) -> Value:
    table = released.annotations(family, layer)
    genes = table[table.kind == GENE]
    first = genes.groupby("feature").head(1)
    return Value(
        100 * float((genes["count"] == 1).mean()),
        f"of {len(genes):,} genes in {len(first):,} lists; of first-ranked genes "
        f"{100 * (first['count'] == 1).mean():.0f} %",
    )


def _edges(released: Released, family: str, layer: int) -> Value:
    table = released.annotations(family, layer)
    found = table[table.kind != GENE]
    alone = found.kind.isin(EDGES).groupby(found.feature).all()
    how = f"of {len(alone):,} annotated features: any STRING or TRRUST edge counts, untested"
    return Value(100 * float(alone.mean()), how)


def _families(released: Released, family: str, layer: int, sets: GeneSets | None) -> Value:
    if sets is None:
        return Value(NOT_HERE, f"no gene sets: give --genesets FILE, or {REACTOME} beside them")
    frame = released.features(family)
    alive = int(((frame.layer == layer) & (frame.dead == 0)).sum())
    found = families(gene_lists(released.annotations(family, layer)), sets, alive)
    how = (
        f"BH over {found.terms:,} terms x listed features, sets cut to {found.background:,} genes; "
        f"over alive features {100 * found.alive:.2f} %, within each feature "
        f"{100 * found.within:.1f} %, as published (tests with an overlap below 2 dropped, sets "
        f"uncut) {100 * found.published:.1f} %"
    )
    return Value(100 * found.admitted, how)


def _modules(released: Released, family: str) -> Iterator[Row]:
    """Communities, and how many features lie in one."""
    name, file = NAMES[family], f"{family}_modules.json.gz"
    table = f"{family}_features.tsv.gz"

    def count() -> Value:
        layers = released.table(file, (), ("layer",)).layer.value_counts()
        n = int(layers.sum())
        how = f"{layers.min()}-{layers.max()} a layer, at resolution 1: a choice, not a finding"
        return Value(n, how, n == MODULES[family])

    def coverage() -> Value:
        frame = released.features(family)
        frame = frame[frame.dead == 0]
        inside = frame.module >= 0
        share, by_layer = 100 * float(inside.mean()), 100 * inside.groupby(frame.layer).mean()
        least = by_layer[by_layer <= by_layer.min() + 1]
        how = (
            f"{int(inside.sum()):,} of {len(frame):,} alive; least {by_layer.min():.0f} % at "
            f"layer {', '.join(map(str, least.index))}"
        )
        return Value(share, how, abs(share - COVERAGE[family]) < 0.1)

    yield Row(f"{name}: modules", MODULES[family], (file,), count)
    yield Row(f"{name}: alive features in a module, %", COVERAGE[family], (table,), coverage)


def _svd(released: Released) -> Iterator[Row]:
    """Features along principal axes."""
    file = "geneformer_svd_comparison.json.gz"

    def aligned() -> Value:
        n = int(released.number(file, "aggregate", "total_svd_aligned"))
        total = int(released.number(file, "aggregate", "total_features"))
        share = 100 * (1 - n / total)
        how = (
            f"{n} of {total:,} aligned at max |cosine| above .5 (03:266; the paper says .7) with "
            "one of 50 axes"
        )
        control = "a uniform direction has mean max |cosine| .074 and none above .5"
        return Value(share, how, round(share, 1) == 99.8, control)

    def budget() -> Value:
        gain = [
            released.number(file, "per_layer", layer, "sae_variance")
            / released.number(file, "per_layer", layer, "svd_variance")
            for layer in released.entry(file, "per_layer")
        ]
        how = "50 axes against 4,608 features of which 32 are active: budgets are not equal"
        return Value(f"{min(gain):.2f}-{max(gain):.2f}", how)

    yield Row("Geneformer: features invisible to SVD, %", 99.8, (file,), aligned)
    yield Row("Geneformer: variance explained, SAE over SVD", NOT_STATED, (file,), budget)


def _causal(released: Released, family: str) -> Iterator[Row]:
    """Specificity of switching features off."""
    name, file = NAMES[family], f"{family}_causal_patching.json.gz"

    def specificity() -> Value:
        table = released.table(file, ("features",), ("sr", "td", "od")).astype(np.float64)
        ratio, target, other = table.to_numpy().T
        ratio, size = ratio[np.isfinite(ratio)], np.abs(other)
        with np.errstate(divide="ignore"):
            fit = np.log(np.abs(target)) - np.log(size), np.log(size)
        kept = np.isfinite(fit[0]) & np.isfinite(fit[1])
        r = stats.pearsonr(fit[0][kept], fit[1][kept]).statistic
        middle = float(np.median(ratio))
        how = (
            f"{len(ratio)} features, mean {ratio.mean():.2f}, largest {ratio.max():.1f}; mean "
            f"change of targets negative in {100 * (target < 0).mean():.0f} %; Pearson r of ln "
            f"ratio with ln |other| {r:.2f}: a small denominator makes a large ratio"
        )
        control = "targets are the feature's own top genes: circular; no test was made"
        return Value(middle, how, abs(middle - SPECIFICITY[family]) < 0.005, control)

    yield Row(f"{name}: median causal specificity", SPECIFICITY[family], (file,), specificity)


def _highways(released: Released, family: str) -> Iterator[Row]:
    """Cross-layer dependencies."""
    file = f"{family}_cross_layer_graph.json.gz"
    for pair, stated in HIGHWAYS[family].items():
        first, second = (int(part[1:]) for part in pair.split("_"))
        yield Row(
            f"{NAMES[family]}: highways, layers {first} to {second}, % of alive features",
            stated,
            (file,),
            partial(_highway, released, file, pair, stated),
        )


def _highway(released: Released, file: str, pair: str, stated: float | str) -> Value:
    def number(name: str) -> float:
        return released.number(file, pair, "summary", name)

    n, alive = number("n_highways"), number("n_alive_a")
    if isinstance(stated, str):
        how = (
            f"{n:,.0f} of {alive:,.0f}, all with any dependency: the released list is cut from "
            f"{number('n_pmi_edges'):,.0f} edges; downstream coverage "
            f"{100 * number('downstream_coverage'):.1f} %"
        )
        return Value(100 * n / alive, how)
    among = 100 * n / number("n_features_with_deps")
    how = (
        f"{n:,.0f} of {alive:,.0f} alive; the stated share is of those with any dependency, "
        f"{among:.1f} %; mean max PMI {number('mean_max_pmi'):.2f}"
    )
    control = "gene identity alone reaches PMI 3: the same token sits there in both layers"
    return Value(100 * n / alive, how, abs(among - stated) < 0.06, control)


def _persistence(released: Released) -> Iterator[Row]:
    """Features that keep their decoder direction."""
    file = "geneformer_cross_layer_tracking.json.gz"

    def persistence() -> Value:
        fields = ("target_layer", "n_matches")
        count = released.table(file, ("long_range_persistence",), fields)
        count = count.set_index("target_layer").n_matches
        n, last = int(count[1]), int(count[count > 0].index.max())
        how = (
            f"decoder |cosine| from .7 on with layer 0, of {count[0]:,}; none beyond layer {last}. "
            "Blocks end in a norm with free gains: no common basis is promised"
        )
        return Value(n, how, n == 114)

    yield Row("Geneformer: features of layer 0 found again in layer 1", 114, (file,), persistence)


def _perturbations(released: Released, known: Known | None) -> Iterator[Row]:
    """The response to knock-downs, and what chance gives."""
    table = "geneformer_features.tsv.gz"
    needs = (RESPONSES, table)
    yield Row(
        "CRISPRi: factors with a specific response", 3, needs, partial(_specific, released, known)
    )
    yield Row(
        "CRISPRi: factors that chance makes specific",
        NOT_STATED,
        needs,
        partial(_expected, released, known),
    )
    yield Row(
        f"CRISPRi: responses of features that fire fewer than {RARE} times, %",
        NOT_STATED,
        needs,
        partial(_near_dead, released),
    )


def _specific(released: Released, known: Known | None) -> Value:
    rows = factors(released)
    found = rows.gene[rows.ns > 0]
    n = len(found)
    interval = stats.binomtest(n, len(rows)).proportion_ci(method="exact")
    how = (
        f"of {len(rows)} ({', '.join(found)}), 95 % interval {100 * interval.low:.1f}-"
        f"{100 * interval.high:.1f} %"
    )
    if known is None:
        return Value(n, how, n == 3)
    by_chance = _by_chance(released, rows, known)
    likely = any(one.at_least(n) > ALPHA for one in by_chance.values())
    control = "; ".join(f"{of}: {one}" for of, one in by_chance.items())
    return Value(n, how, n == 3 and not likely, f"random features, {control}")


def _expected(released: Released, known: Known | None) -> Value:
    if known is None:
        return Value(NOT_HERE, f"no {TRRUST} here or in the folder above")
    found = _by_chance(released, factors(released), known)
    full = [one.expected for of, one in found.items() if FIRST not in of]
    if not full:
        return Value(NOT_HERE, "no full gene list of Geneformer here")
    every, annotated = (one.expected for of, one in found.items() if FIRST in of)
    how = (
        "published rule, random features in place of those that responded; only annotated "
        f"features' lists were released, and by the first five genes all features reach "
        f"{100 * every / annotated:.0f} % of what annotated ones do"
    )
    return Value(f"{min(full):.2f}-{max(full):.2f}", how)


def _near_dead(released: Released) -> Value:
    rows = responses(released)
    rows = rows[rows.effect.abs() > EFFECT]
    frame = released.features("geneformer")
    fires = frame[frame.layer == CAUSAL_LAYER].set_index("feature").fires
    rare = rows.feature.map(fires) < RARE
    summed = rows.effect[rare] * FLOOR * KNOCKED_DOWN * POSITIONS / CELLS
    q = np.percentile(summed, [25, 50, 75])
    how = (
        f"{int(rare.sum())} of {len(rows)} with |effect| above {EFFECT:g}, from "
        f"{rows.feature[rare].nunique()} features of layer {CAUSAL_LAYER}; at the floor of the "
        f"variance their effects are a summed activation of {q[1]:.1f} "
        f"({q[0]:.1f}-{q[2]:.1f}): one firing in {KNOCKED_DOWN} cells"
    )
    return Value(100 * float(rare.mean()), how)


def factors(released: Released) -> pd.DataFrame:
    """Knocked-down transcription factors: gene, nk known targets, nr features that responded, ns
    of them specific."""
    rows = released.table(RESPONSES, ("targets",), ("gene", "tf", "nk", "nr", "ns"))
    return rows[rows.tf.astype(bool)].reset_index(drop=True)


def responses(released: Released) -> pd.DataFrame:
    """Released responses, at most five of each knock-down: target, feature, effect."""
    targets = released.table(RESPONSES, ("targets",), ("gene", "top"))
    rows = [
        (gene, *(released.entry(RESPONSES, "targets", i, "top", j, key) for key in ("i", "es")))
        for i, (gene, top) in enumerate(zip(targets.gene, targets.top))
        for j in range(len(top))
    ]
    return pd.DataFrame(rows, columns=["target", "feature", "effect"])


def _by_chance(released: Released, rows: pd.DataFrame, known: Known) -> dict[str, Chance]:
    """Chance by whose lists: annotated features of layers with full lists, which stand in for the
    responding layer; and the first five genes there, of all features and of annotated ones."""
    found = {}
    for layer in released.annotated_layers("geneformer"):
        lists = gene_lists(released.annotations("geneformer", layer))
        found[f"lists of annotated features of layer {layer}"] = chance(rows, known, lists)
    frame = released.features("geneformer")
    frame = frame[(frame.layer == CAUSAL_LAYER) & (frame.dead == 0)]
    for words, part in (("all", frame), ("annotated", frame[frame.n_annotations > 0])):
        lists = {
            int(feature): frozenset(genes.split(";"))
            for feature, genes in zip(part.feature, part.top5_genes)
        }
        found[f"{FIRST} of {words} features of layer {CAUSAL_LAYER}"] = chance(rows, known, lists)
    return found


def _celltypes(released: Released, family: str) -> Iterator[Row]:
    """Features with a cell type."""
    name, file = NAMES[family], f"{family}_celltypes_summary.tsv"

    def share() -> Value:
        table = released.celltypes(family)
        rate = 100 * table.with_cell_type / table.features_listed
        how = f"of the features listed, over {len(table)} layers; cells of a donor counted as many"
        return Value(f"{rate.min():.1f}-{rate.max():.1f}", how, bool(rate.min() >= 94))

    def types() -> Value:
        n = int(released.celltypes(family).n_cell_types.max())
        return Value(n, "in the released summary", n == CELL_TYPES)

    yield Row(f"{name}: features with a cell type, %", "94-100", (file,), share)
    yield Row(f"{name}: cell types", CELL_TYPES, (file,), types)


def _novel(released: Released) -> Iterator[Row]:
    """Clusters of features without annotation."""
    file = "geneformer_novel_clusters.json.gz"

    def clusters() -> Value:
        layers = list(released.json(file))
        counts, features, share = (
            [released.number(file, layer, "summary", name) for layer in layers]
            for name in (
                "n_novel_clusters",
                "n_features_in_clusters",
                "frac_unannotated_with_module",
            )
        )
        how = (
            f"{'/'.join(f'{n:g}' for n in features)} features, layers {'/'.join(layers)}; "
            f"{100 * min(share):.0f}-{100 * max(share):.0f} % share a module "
            "with an annotated feature, as does nearly every module of hundreds"
        )
        return Value("/".join(f"{n:g}" for n in counts), how, counts == [15, 19, 11, 12])

    yield Row("Geneformer: clusters of novel features", "15/19/11/12", (file,), clusters)


def read_known(path: Path) -> dict[str, frozenset[str]]:
    """Transcription factor → its targets, of a table with columns tf and target."""
    table = read_released(path, (), ("tf", "target"))
    return {str(tf): frozenset(targets) for tf, targets in table.groupby("tf").target}


def audit_rows(released: Released, genesets: Path | None = None) -> list[Checked]:
    """`audit` of a folder; TRRUST and Reactome are taken from beside it where they are there, and
    ``genesets`` (a GMT file) is added to Reactome."""
    trrust, reactome = (beside(released.folder, name) for name in (TRRUST, REACTOME))
    found: dict[str, tuple[str, ...]] = {}
    for path in (reactome, genesets):
        if path is not None:
            found |= {f"{path.name} {term}": genes for term, genes in read_gmt(path).sets.items()}
    sets = GeneSets(found, ()) if found else None
    known = None if trrust is None else read_known(trrust)
    return audit(released, known, sets)


def audit_folder(folder: Path, genesets: Path | None) -> pd.DataFrame:
    """The table that `petriscope audit` prints: columns claim, stated, recomputed, how; what a
    number is to be read against follows how it was computed."""
    rows = audit_rows(Released(folder), genesets)
    return pd.DataFrame(
        {
            "claim": [row.claim for row in rows],
            "stated": [row.stated for row in rows],
            "recomputed": [row.recomputed for row in rows],
            "how": [row.how + (f". {row.control}" if row.control else "") for row in rows],
        }
    )
