"""Features without annotation are grouped by the genes they share, as published and against lists
dealt out anew; what their modules say of them is held against chance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.special import gammaln

from petriscope.graph.curveball import curveball
from petriscope.progress import progress

SMALLEST = 3
"""features of a cluster, at least"""
RESOLUTION, SEED = 0.5, 42
"""of Leiden, as published; the seed also draws the features, where there are too many"""
CONSENSUS, LISTED = 0.3, 20
"""share of a cluster's features that list a consensus gene (two at least), and how many are kept"""
Cluster = Callable[[sp.csr_matrix, float, int], np.ndarray]
"""symmetric weights (n, n), resolution, seed → int labels (n,): `petriscope.graph.leiden`"""


class Clusters(NamedTuple):
    """Features grouped by shared genes."""

    table: pd.DataFrame
    """a row per cluster of three or more, largest first: cluster, features (joined by ;),
    n_features, genes (n_unique_genes), n_consensus, consensus (joined by ;, most listed first),
    jaccard (mean over pairs)"""
    members: np.ndarray
    """int64 features in a cluster, ascending"""
    sampled: np.ndarray
    """int64 features that were grouped"""


class Counts(NamedTuple):
    """What is compared with shuffled lists."""

    clusters: int
    features: int
    """in clusters"""
    largest: int
    """features of the largest cluster"""


class NovelNull(NamedTuple):
    """Counts of shuffled lists; arrays (S,)."""

    clusters: np.ndarray
    features: np.ndarray
    largest: np.ndarray


def jaccard_graph(lists: sp.csr_matrix, least: float) -> sp.csr_matrix:
    """Symmetric graph of ``lists`` (n, G; 0/1): shared over united genes where that is ``least`` or
    more."""
    lists = sp.csr_matrix(lists, dtype=np.float64)
    length = np.diff(lists.indptr)
    shared = sp.triu(lists @ lists.T, 1).tocoo()
    united = length[shared.row] + length[shared.col] - shared.data
    # in single precision, as published: a pair at the threshold falls on the same side
    weight = (shared.data / united).astype(np.float32)
    kept = weight >= least
    upper = sp.csr_matrix(
        (weight[kept].astype(np.float64), (shared.row[kept], shared.col[kept])), shape=shared.shape
    )
    return sp.csr_matrix(upper + upper.T)


def sample(features: np.ndarray, most: int) -> np.ndarray:
    """At most ``most`` of the features, ascending, drawn as published."""
    if len(features) <= most:
        return np.sort(features)
    drawn = np.random.RandomState(SEED).choice(len(features), most, replace=False)
    return np.sort(features)[np.sort(drawn)]


def novel_clusters(
    lists: sp.csr_matrix,
    unannotated: np.ndarray,
    names: Sequence[str],
    cluster: Cluster,
    *,
    jaccard: float = 0.15,
    most: int = 2000,
) -> Clusters:
    """Group the features ``unannotated`` (ascending rows of ``lists`` (F, G)) by the Jaccard index
    of their lists. Source: 10_novel_features.py:93-207 of Biodyn-AI/bio-sae."""
    sampled = sample(np.asarray(unannotated, np.int64), most)
    mine = sp.csr_matrix(lists[sampled], dtype=np.float64)
    labels = _labels(jaccard_graph(mine, jaccard), cluster)
    rows = [np.flatnonzero(labels == one) for one in _large(labels)]
    rows.sort(key=lambda group: (-len(group), group[0]))
    table = pd.DataFrame(
        [
            {"cluster": number, **_about(mine[group], sampled[group], names)}
            for number, group in enumerate(rows)
        ],
        columns=[
            *("cluster", "features", "n_features", "genes", "n_consensus", "consensus", "jaccard"),
        ],
    )
    members = np.sort(np.concatenate([sampled[group] for group in rows] or [np.zeros(0, np.int64)]))
    return Clusters(table, members, sampled)


def counts(lists: sp.csr_matrix, cluster: Cluster, jaccard: float) -> Counts:
    """Clusters among all of ``lists`` (n, G)."""
    labels = _labels(jaccard_graph(lists, jaccard), cluster)
    sizes = np.bincount(labels, minlength=1)
    sizes = sizes[sizes >= SMALLEST]
    return Counts(len(sizes), int(sizes.sum()), int(sizes.max(initial=0)))


def novel_null(
    lists: sp.csr_matrix,
    sampled: np.ndarray,
    cluster: Cluster,
    shuffles: int,
    seed: int,
    *,
    jaccard: float = 0.15,
    what: str = "shuffled lists",
) -> NovelNull:
    """Counts of the features ``sampled`` where the genes of the lists of ALL alive features (F, G)
    are dealt out anew, lengths and numbers of listings kept (`curveball`)."""
    found = [
        counts(curveball(lists, seed + draw)[sampled], cluster, jaccard)
        for draw in progress(range(shuffles), what, unit="shuffle")
    ]
    columns = zip(*found) if found else ([], [], [])
    return NovelNull(*(np.array(column, np.int64) for column in columns))


class Association(NamedTuple):
    """Unannotated features whose module holds an annotated one."""

    table: pd.DataFrame
    """a row per such feature: feature, module, module_size, annotated (features of the module)"""
    share: float
    """of the unannotated features"""
    expected: float
    """of as many features drawn at random from the alive ones"""
    p: float
    """share of random draws with as large a share"""


def association(
    module: np.ndarray, annotated: np.ndarray, alive: np.ndarray, draws: int = 1000, seed: int = 0
) -> Association:
    """Guilt by association. ``module``: int (F,), -1 for none; ``annotated``, ``alive``: bool (F,).

    Chance: labels dealt out anew among the alive features. A feature without annotation in a module
    of s finds one among s - 1 others with 1 - C(n-1-A, s-1) / C(n-1, s-1), A of n being annotated.
    Source of the rule: 10_novel_features.py:214-252 of Biodyn-AI/bio-sae.
    """
    size = np.bincount(module[alive & (module >= 0)], minlength=int(module.max(initial=0)) + 1)
    rows = np.flatnonzero(alive)
    label, mine = annotated[rows], module[rows]

    def share_of(label: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        held = np.bincount(mine[label & (mine >= 0)], minlength=len(size))
        guilty = ~label & (mine >= 0) & (held[np.maximum(mine, 0)] > 0)
        return float(guilty.sum() / max((~label).sum(), 1)), guilty, held

    share, guilty, held = share_of(label)
    table = pd.DataFrame(
        {
            "feature": rows[guilty],
            "module": mine[guilty],
            "module_size": size[mine[guilty]],
            "annotated": held[mine[guilty]],
        }
    )
    rng = np.random.default_rng(seed)
    above = sum(share_of(rng.permutation(label))[0] >= share - 1e-12 for _ in range(draws))
    others, labeled = len(rows) - 1, int(label.sum())
    small = size[mine[mine >= 0]] - 1
    silent = _log_choose(others - labeled, small) - _log_choose(others, small)
    expected = (1 - np.exp(silent)).sum() / max(len(rows), 1)
    return Association(table, share, float(expected), (above + 1) / (draws + 1))


class PublishedNovel(NamedTuple):
    """What novel_features_layerXX.json of the released code says."""

    clusters: Clusters
    associated: pd.DataFrame
    """guilt_by_association: `Association.table`"""
    summary: dict[str, int | float]
    """n_annotated, n_unannotated, n_novel_clusters, n_features_in_clusters, n_guilt_by_association,
    frac_unannotated_in_clusters, frac_unannotated_with_module, annotated_mean_freq,
    unannotated_mean_freq; in_coherent_clusters, guilt_by_association, isolated"""


def published_novel(
    lists: sp.csr_matrix,
    annotated: np.ndarray,
    frequency: np.ndarray,
    module: np.ndarray,
    names: Sequence[str],
    cluster: Cluster,
    *,
    jaccard: float = 0.15,
    most: int = 2000,
) -> PublishedNovel:
    """Features that fire (``frequency`` (F,) > 0) and are not ``annotated`` (bool, F), grouped by
    their published lists (F, G); ``module``: int (F,), -1 for none."""
    alive = frequency > 0
    free = np.flatnonzero(alive & ~annotated)
    clusters = novel_clusters(lists, free, names, cluster, jaccard=jaccard, most=most)
    linked = association(module, annotated & alive, alive, draws=0).table
    inside = int(clusters.table.n_features.sum())
    apart = int((~np.isin(linked.feature, clusters.members)).sum())
    summary = {
        "n_annotated": int((annotated & alive).sum()),
        "n_unannotated": len(free),
        "n_novel_clusters": len(clusters.table),
        "n_features_in_clusters": inside,
        "n_guilt_by_association": len(linked),
        "frac_unannotated_in_clusters": inside / max(len(free), 1),
        "frac_unannotated_with_module": len(linked) / max(len(free), 1),
        "annotated_mean_freq": _mean(frequency[annotated & alive]),
        "unannotated_mean_freq": _mean(frequency[free]),
        "in_coherent_clusters": inside,
        "guilt_by_association": len(linked),
        "isolated": len(free) - inside - apart,
    }
    return PublishedNovel(clusters, linked, summary)


def _labels(graph: sp.csr_matrix, cluster: Cluster) -> np.ndarray:
    """Labels from 0; every node its own where there is no edge."""
    if not graph.nnz:
        return np.arange(graph.shape[0])
    return np.unique(cluster(graph, RESOLUTION, SEED), return_inverse=True)[1]


def _large(labels: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.bincount(labels, minlength=1) >= SMALLEST)


def _about(lists: sp.csr_matrix, features: np.ndarray, names: Sequence[str]) -> dict[str, object]:
    """A cluster in numbers: ``lists`` (n, G) of its features."""
    times = np.asarray(lists.sum(0)).ravel()
    common = np.flatnonzero(times >= max(2, CONSENSUS * len(features)))
    common = common[np.argsort(-times[common], kind="stable")]
    length = np.diff(lists.indptr)
    shared = (lists @ lists.T).toarray()
    one, other = np.triu_indices(len(features), 1)
    both = (length[one] > 0) & (length[other] > 0)
    united = length[one] + length[other] - shared[one, other]
    ratio = shared[one, other][both] / united[both]
    return {
        "features": ";".join(map(str, features)),
        "n_features": len(features),
        "genes": int((times > 0).sum()),
        "n_consensus": len(common),
        "consensus": ";".join(names[gene] for gene in common[:LISTED]),
        "jaccard": _mean(ratio),
    }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _log_choose(n: int, k: np.ndarray) -> np.ndarray:
    """ln C(n, k), minus infinity where k > n."""
    fits = k <= n
    k = np.minimum(k, n)
    return np.where(fits, gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), -np.inf)
