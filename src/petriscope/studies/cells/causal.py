"""Features are switched off one at a time: as published, on the very genes that define them; and
corrected, on masked genes of an annotation that the feature's own strongest genes are taken out of.

As published (`BS:src/08_causal_patching.py`), z_f is set to 0 at every gene position of a control
cell, dec(z') - dec(z) is added to the true stream, and the change of the visible token's logit is
read where f is active, apart for the feature's top 20 genes and for others. A ratio of signed means
over positions at which the model copies its input says little: means cancel, and the targets are
the feature's definition.

Corrected:

1. some genes of each cell are masked, the model is read there alone;
2. h' = h - z_f d_f at the cell's gene positions, and the change of each reading is divided by the
   norm of that edit over the cell, ‖δ‖;
3. the targets are the genes of the term that the feature scores highest, less its own strongest
   genes; their mean |change| stands over that of genes matched on frequency, rank and the feature's
   mean activation on them;
4. the null is 1,000 matched sets of genes, and random directions of equal ‖δ‖ at the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from petriscope.causal.directions import random_like
from petriscope.contrast.effects import bootstrap_counts, expanded_percentiles
from petriscope.contrast.results import adjust
from petriscope.parallel import in_processes
from petriscope.probe.model import ProbedModel, run_from
from petriscope.probe.states import to_host
from petriscope.sae.coder import SAE
from petriscope.studies.cells.matching import matched_genes, share_as_large
from petriscope.studies.cells.readings import Held, Readable

OWN_GENES = 50
"""strongest genes of a feature that cannot be its targets; one in fifty of the genes where they are
fewer than 2,500"""
LEAST_TARGETS = 3
"""genes that must be left to read"""
NULL_CELLS = 16
"""cells of a feature on which random directions are tried: those where it is strongest"""
_ROWS_AT_ONCE = 4096
"""tokens of a resumed pass"""

Coded = tuple[Tensor, Tensor]
"""activations (n, m), and bool (n, m): called active"""


# --- as published -------------------------------------------------------------------------------


class PublishedCoder(NamedTuple):
    """The authors' dictionary: TopK of a linear encoder on the stream less its train mean, relu on
    the k values (`BS:src/sae_model.py`). A latent among the k is active even at 0."""

    encoder: Tensor
    """(m, d)"""
    bias: Tensor
    decoder: Tensor
    """(d, m)"""
    mean: Tensor
    k: int

    def __call__(self, hidden: Tensor) -> Coded:
        """Activations of hidden states (n, d)."""
        found = ((hidden - self.mean) @ self.encoder.T + self.bias).topk(self.k, dim=-1)
        z = torch.zeros(len(hidden), len(self.encoder))
        z.scatter_(1, found.indices, found.values.relu())
        return z, torch.zeros_like(z, dtype=torch.bool).scatter_(1, found.indices, True)

    @property
    def directions(self) -> Tensor:
        """(m, d)"""
        return self.decoder.T


class DictionaryCoder(NamedTuple):
    """A dictionary of this program in its place; a latent is active above 0."""

    sae: SAE

    def __call__(self, hidden: Tensor) -> Coded:
        """Activations of hidden states (n, d)."""
        z = self.sae.encode_dense(hidden)
        return z, z > 0

    @property
    def directions(self) -> Tensor:
        """(m, d)"""
        return self.sae.directions


class VisibleCell(NamedTuple):
    """A cell with all its genes visible."""

    batch: object
    """as the model takes it"""
    place: np.ndarray
    """positions of its genes"""
    token: np.ndarray
    """their token ids"""


class PublishedSpecificity(NamedTuple):
    """What was published of one feature."""

    feature: int
    active: int
    """positions at which it is active"""
    mean_activation: float
    targets: np.ndarray
    """signed changes of the logit at target genes"""
    others: np.ndarray
    """at all others where it is active"""
    cosine_distance: float

    @property
    def ratio(self) -> float:
        """|mean over targets| / |mean over others|; infinite over 0."""
        target, other = (abs(_mean(part)) for part in (self.targets, self.others))
        if other:
            return target / other
        return float("inf") if target else 0.0


def published_choice(annotations: pd.DataFrame, frequency: np.ndarray, count: int) -> np.ndarray:
    """Features by 10 · collections + terms - log10 of the least p, those firing on 1 % of positions
    or more (`BS:src/08:95-160`).

    annotations: a row per significant term, columns feature, collection, q.
    """
    if annotations.empty:
        return np.zeros(0, np.int64)
    by = annotations.groupby("feature")
    least = np.log10(np.maximum(by.q.min(), 1e-30))
    score = 10 * by.collection.nunique() + by.size() - least
    score = score[frequency[score.index.to_numpy(np.int64)] >= 0.01]
    return score.sort_values(ascending=False, kind="stable").index.to_numpy(np.int64)[:count]


@torch.inference_mode()
def published_causal(
    model: ProbedModel,
    cells: Sequence[VisibleCell],
    layer: int,
    coder: Callable[[Tensor], Coded],
    directions: Tensor,
    targets: Mapping[int, set[int]],
) -> list[PublishedSpecificity]:
    """Switch off each feature of ``targets`` (feature to the token ids of its top genes) in every
    cell in which it is active.

    layer: 0 is the input of the first block, so that the authors' layer l is l + 1. Reads logits
    (1, T, V) at the token that is there, or a prediction (1, T) as it is.
    """
    found: dict[int, list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]] = {}
    for cell in cells:
        output = model.run(cell.batch, capture=(layer,))
        hidden = output.hidden[layer]
        place, token = torch.from_numpy(cell.place), torch.from_numpy(cell.token)
        genes = hidden[0, place]
        z, active = coder(genes)
        before = _visible(output.prediction, place, token)
        for feature in targets:
            fires = active[:, feature]
            if not fires.any():
                continue
            edited = hidden.clone()
            edited[0, place] = genes - z[:, feature, None] * directions[feature]
            after = _visible(run_from(model, cell.batch, layer, edited), place, token)
            cosine = torch.nn.functional.cosine_similarity(
                genes[fires], edited[0, place][fires], dim=1
            )
            parts = (cell.token[fires.numpy()], (after - before)[fires], z[fires, feature])
            found.setdefault(feature, []).append(
                (parts[0], *(to_host(part) for part in parts[1:]), to_host(1 - cosine))
            )
    rows = []
    for feature, wanted in targets.items():
        empty = [(np.zeros(0, np.int64), np.zeros(0), np.zeros(0), np.zeros(0))]
        token_ids, change, activation, distance = (
            np.concatenate(part) for part in zip(*found.get(feature, empty))
        )
        hit = np.isin(token_ids, list(wanted))
        rows.append(
            PublishedSpecificity(
                int(feature),
                len(change),
                _mean(activation),
                change[hit],
                change[~hit],
                _mean(distance),
            )
        )
    return rows


def _visible(prediction: Tensor, place: Tensor, token: Tensor) -> Tensor:
    one = prediction[0, place]
    return one if one.ndim == 1 else one.gather(1, token[:, None])[:, 0]


def _mean(values: np.ndarray) -> float:
    return float(values.mean(dtype=np.float64)) if len(values) else 0.0


def published_median(rows: Sequence[PublishedSpecificity]) -> float | None:
    """Median of the finite ratios above 0."""
    ratios = [row.ratio for row in rows if 0 < row.ratio < np.inf]
    return float(np.median(ratios)) if ratios else None


# --- corrected ----------------------------------------------------------------------------------


class Targets(NamedTuple):
    """The genes that a feature should reach."""

    feature: int
    term: str
    genes: np.ndarray
    own: np.ndarray
    """its strongest genes, which are neither targets nor stand for others"""


def annotation_targets(
    score: sp.csr_matrix, sets: Mapping[str, np.ndarray], features: np.ndarray, usable: np.ndarray
) -> list[Targets]:
    """For each feature the term whose genes it scores highest, less its own strongest genes.

    score: (F, G) shrunken gene scores. sets: term to its genes. usable: bool (G,), genes of the
    background. A term is ranked by the mean score of its genes, less that of all, over the standard
    error of a mean of so many; it needs ``LEAST_TARGETS`` genes once the strongest are left out.
    A feature without such a term has no entry.
    """
    names = list(sets)
    member = np.zeros((len(names), score.shape[1]))
    for row, name in enumerate(names):
        member[row, sets[name]] = 1.0
    member[:, ~usable] = 0
    genes = np.flatnonzero(usable)
    own_count = min(OWN_GENES, max(1, len(genes) // 50))
    size, found = member.sum(1), []
    for feature in features:
        values = np.where(usable, score[[feature]].toarray().ravel(), 0.0)
        spread = values[genes].std()
        if not spread > 0:
            continue
        strongest = genes[np.argsort(-values[genes], kind="stable")[:own_count]]
        left = size - member[:, strongest].sum(1)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (member @ values / size - values[genes].mean()) / (spread / np.sqrt(size))
        z[left < LEAST_TARGETS] = -np.inf
        best = int(np.argmax(np.nan_to_num(z, nan=-np.inf))) if len(z) else -1
        if best < 0 or not np.isfinite(z[best]):
            continue
        targets = np.setdiff1d(np.flatnonzero(member[best]), strongest)
        found.append(Targets(int(feature), names[best], targets, strongest))
    return found


class Reads(NamedTuple):
    """What changed at the masked genes of the cells in which a feature fires; arrays over reads."""

    cell: np.ndarray
    gene: np.ndarray
    change: np.ndarray
    """of the reading, per unit ‖δ‖ of its cell"""

    def only(self, cells: np.ndarray) -> Reads:
        """Those of some cells."""
        return Reads(*(part[np.isin(self.cell, cells)] for part in self))


class Firings(NamedTuple):
    """How one feature fires in held cells."""

    part: np.ndarray
    """(k,) which part of the held cells"""
    row: np.ndarray
    """(k,) row of it"""
    strength: np.ndarray
    """(k,) root of the summed squared activation over the cell's genes"""


class Bench:
    """Held cells with the codes of a dictionary: edits along any direction are tried on it."""

    def __init__(self, model: Readable, held: Sequence[Held], sae: SAE) -> None:
        self.model, self.held = model, list(held)
        self.directions = to_host(sae.directions)
        self._codes = [_gene_codes(part, sae) for part in self.held]

    def firings(self, feature: int) -> Firings:
        """Cells in which a feature fires on some gene."""
        found = []
        for number, codes in enumerate(self._codes):
            column = codes[:, [feature]].toarray().reshape(self.held[number].masked.read.shape)
            strength = np.sqrt((column**2).sum(1))
            rows = np.flatnonzero(strength > 0)
            found.append((np.full(len(rows), number), rows, strength[rows]))
        return Firings(*(np.concatenate(part) for part in zip(*found)))

    def activation(self, feature: int, part: int, rows: np.ndarray) -> np.ndarray:
        """(k, T) of one feature in rows of a part."""
        column = self._codes[part][:, [feature]].toarray()
        return column.reshape(self.held[part].masked.read.shape)[rows]

    @torch.inference_mode()
    def reads(self, feature: int, fired: Firings, directions: np.ndarray) -> list[Reads]:
        """Reads of the edit -z_f v for every v of ``directions`` (R, d): its own direction, or
        others of its length."""
        found: list[list[Reads]] = [[] for _ in directions]
        for number in np.unique(fired.part):
            part, rows = self.held[number], fired.row[fired.part == number]
            z = self.activation(feature, number, rows)
            norm = np.sqrt((z**2).sum(1)) * np.linalg.norm(directions[0])
            pairs = [(i, r) for r in range(len(directions)) for i in range(len(rows))]
            at_once = max(1, _ROWS_AT_ONCE // z.shape[1])
            for start in range(0, len(pairs), at_once):
                some = np.array(pairs[start : start + at_once])
                delta = z[some[:, 0]][:, :, None] * directions[some[:, 1]][:, None, :]
                moved = torch.from_numpy(delta.astype(np.float32)).to(part.hidden.device)
                row = rows[some[:, 0]]
                stream = part.hidden[torch.from_numpy(row)] - moved
                change = part.after(self.model, row, stream) - part.before[row]
                for (i, r), values, at in zip(some, change, row):
                    read = part.masked.read[at]
                    found[r].append(
                        Reads(
                            np.full(int(read.sum()), part.masked.cell[at]),
                            part.masked.gene[at][read],
                            values[read] / norm[i],
                        )
                    )
        return [Reads(*(np.concatenate(column) for column in zip(*some))) for some in found]

    @torch.inference_mode()
    def reconstructed(self, sae: SAE) -> Reads:
        """Reads where dec(enc(h)) takes the place of h at all genes: what the dictionary alone
        does, a single edit for all features."""
        found = []
        for part in self.held:
            genes = part.masked.gene >= 0
            rows = to_host(part.hidden)[genes]
            decoded = sae.decode(sae.encode(rows))
            stream = part.hidden.clone()
            stream[torch.from_numpy(genes)] = torch.from_numpy(decoded).to(stream.device)
            norm = np.sqrt(to_host(((stream - part.hidden) ** 2).sum((1, 2))))
            every = np.arange(len(stream))
            change = part.after(self.model, every, stream) - part.before
            read = part.masked.read
            cell = np.broadcast_to(part.masked.cell[:, None], read.shape)
            found.append(Reads(cell[read], part.masked.gene[read], (change / norm[:, None])[read]))
        return Reads(*(np.concatenate(column) for column in zip(*found)))


def _gene_codes(part: Held, sae: SAE) -> sp.csc_matrix:
    """(B·T, m) codes at the gene positions of held cells; nothing elsewhere."""
    genes = (part.masked.gene >= 0).ravel()
    codes = sae.encode(part.hidden.reshape(len(genes), -1)[torch.from_numpy(genes)])
    indptr = np.zeros(len(genes) + 1, np.int64)
    indptr[1:][genes] = np.diff(codes.indptr)
    return sp.csr_matrix(
        (codes.values, codes.indices, np.cumsum(indptr)), (len(genes), codes.m)
    ).tocsc()


class Design(NamedTuple):
    """What effects are judged by."""

    block: np.ndarray
    """(cells,) donor of each cell, or the cell itself: what the bootstrap resamples"""
    axes: np.ndarray
    """(G, 2) logarithm of the genes' token counts, and their mean place in the cell"""
    activation: sp.csr_matrix
    """(F, G) mean activation of each feature on the tokens of each gene"""
    matched_sets: int
    directions: int
    resamples: int
    seed: int


class Specificity(NamedTuple):
    """One feature's effect on its targets, over that on matched genes."""

    feature: int
    term: str
    cells: int
    reads: int
    """at target genes"""
    genes: int
    """targets that were read"""
    ratio: float
    low: float
    high: float
    p: float
    """against the matched sets"""
    null: np.ndarray
    """(K,) the ratio of each matched set"""
    resampled: np.ndarray
    """(R,) the ratio under the bootstrap, the same draws of blocks for all features"""
    again: float
    """the ratio on the cells on which random directions were tried"""
    directions: np.ndarray
    """(D,) the ratio of each random direction there"""

    def row(self) -> dict[str, float | int | str]:
        """As the table prints it."""
        names = ("feature", "term", "cells", "reads", "genes", "ratio", "low", "high", "p", "again")
        limits = [float(np.quantile(part, 0.975)) if len(part) else np.nan for part in self._nulls]
        return {name: getattr(self, name) for name in names} | dict(
            zip(("matched_high", "directions_high"), limits)
        )

    @property
    def _nulls(self) -> tuple[np.ndarray, np.ndarray]:
        return self.null, self.directions


def judged(bench: Bench, target: Targets, design: Design) -> Specificity | None:
    """The ratio of a feature with its interval and nulls; None where it fires in no held cell, or
    too few of its targets were read."""
    fired = bench.firings(target.feature)
    if not len(fired.row):
        return None
    own = bench.directions[[target.feature]]
    reads = bench.reads(target.feature, fired, own)[0]
    weighed = weigh(reads, target, design)
    if weighed is None:
        return None
    names, block = np.unique(design.block, return_inverse=True)
    resampled = weighed.resampled(block, len(names), design.resamples, design.seed)
    usable = resampled[np.isfinite(resampled)]
    few = len(np.unique(block[reads.cell])) < 2 or not len(usable)
    low, high = (np.nan, np.nan) if few else expanded_percentiles(usable, len(names))
    strongest = np.argsort(-fired.strength, kind="stable")[:NULL_CELLS]
    again, directions = np.nan, np.zeros(0)
    if design.directions:
        some = Firings(*(part[strongest] for part in fired))
        others = random_like(own[0], design.directions, design.seed + target.feature)
        tried = bench.reads(target.feature, some, np.concatenate([own, others]))
        ratios = np.array([weighed.ratio_of(one) for one in tried])
        again, directions = float(ratios[0]), ratios[1:]
    return Specificity(
        target.feature,
        target.term,
        len(fired.row),
        weighed.reads,
        len(weighed.targets),
        weighed.ratio_of(reads),
        float(low),
        float(high),
        share_as_large(weighed.null, weighed.ratio_of(reads)),
        weighed.null,
        resampled,
        again,
        directions,
    )


class Weighed(NamedTuple):
    """Targets and their matched genes among the genes that were read."""

    targets: np.ndarray
    weight: np.ndarray
    """(G,) how often a gene stands in a matched set"""
    null: np.ndarray
    reads: int
    data: Reads

    def ratio_of(self, reads: Reads) -> float:
        """Mean |change| over target genes, over that of matched genes as often as they are
        drawn."""
        size, weight = np.abs(reads.change), self.weight[reads.gene]
        hit = np.isin(reads.gene, self.targets)
        below = float((weight * size).sum())
        if not hit.any() or not below > 0:
            return float("nan")
        return float(size[hit].mean()) * float(weight.sum()) / below

    def resampled(self, block: np.ndarray, blocks: int, resamples: int, seed: int) -> np.ndarray:
        """(R,) the ratio with blocks drawn with replacement."""
        size, weight = np.abs(self.data.change), self.weight[self.data.gene]
        hit, at = np.isin(self.data.gene, self.targets), block[self.data.cell]
        sums = np.stack(
            [
                np.bincount(at, part, blocks)
                for part in (size * hit, hit.astype(float), size * weight, weight)
            ],
            axis=1,
        )
        drawn = bootstrap_counts(blocks, resamples, seed) @ sums
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(drawn[:, 0] / drawn[:, 1] * drawn[:, 3] / drawn[:, 2])


def weigh(reads: Reads, target: Targets, design: Design) -> Weighed | None:
    """Draw the matched sets of a feature's targets; None where too few were read."""
    genes = design.axes.shape[0]
    count = np.bincount(reads.gene, minlength=genes)
    total = np.bincount(reads.gene, np.abs(reads.change), genes)
    seen = np.flatnonzero(count)
    targets = np.intersect1d(target.genes, seen)
    pool = np.setdiff1d(seen, np.concatenate([target.genes, target.own]))
    if len(targets) < LEAST_TARGETS or len(pool) < len(targets):
        return None
    axes = np.column_stack([design.axes, design.activation[[target.feature]].toarray().ravel()])
    sets = matched_genes(targets, axes, pool, design.matched_sets, design.seed + target.feature)
    weight = np.bincount(sets.ravel(), minlength=genes) / len(sets)
    level = (weight * total).sum() / max((weight * count).sum(), np.finfo(float).tiny)
    if not level > 0:
        return None
    null = total[sets].sum(1) / count[sets].sum(1) / level
    return Weighed(targets, weight, null, int(count[targets].sum()), reads)


class Summary(NamedTuple):
    """The median ratio over features, and what it is held against."""

    features: int
    median: float
    low: float
    high: float
    """95 % over resampled blocks"""
    matched_high: float
    """97.5 % of the medians of matched sets"""
    median_again: float
    """on the cells on which random directions were tried"""
    directions_high: float
    """97.5 % of the medians of random directions; NaN where none was tried"""
    significant: int
    """features with q below alpha against their matched sets"""


def summarize(found: Sequence[Specificity], alpha: float, blocks: int) -> Summary | None:
    """None where no feature could be judged."""
    if not found:
        return None
    null = np.median(np.stack([one.null for one in found]), axis=0)
    drawn = np.median(np.stack([one.resampled for one in found]), axis=0)
    usable = drawn[np.isfinite(drawn)]
    low, high = (
        expanded_percentiles(usable, blocks) if blocks > 1 and len(usable) else (np.nan, np.nan)
    )
    tried = np.stack([one.directions for one in found])
    limit = float(np.quantile(np.nanmedian(tried, axis=0), 0.975)) if tried.size else np.nan
    q = adjust(np.array([one.p for one in found]), "bh")
    return Summary(
        len(found),
        float(np.median([one.ratio for one in found])),
        float(low),
        float(high),
        float(np.quantile(null, 0.975)),
        float(np.nanmedian([one.again for one in found])) if tried.size else np.nan,
        limit,
        int((q < alpha).sum()),
    )


def judge_all(
    bench: Bench, targets: Sequence[Targets], design: Design, what: str
) -> list[Specificity]:
    """Every feature that can be judged, in order."""

    def one(target: Targets) -> Specificity | None:
        return judged(bench, target, design)

    found = in_processes(one, list(targets), f"features switched off, {what}", unit="feature")
    return [each for each in found if each is not None]


def chosen_at_random(
    frequency: np.ndarray, count: int, seed: int, *, least: float = 0.001
) -> np.ndarray:
    """Features that fire on ``least`` of the tokens or more, drawn without regard to what they are
    annotated with; ascending."""
    alive = np.flatnonzero(frequency >= least)
    drawn = np.random.default_rng(seed).permutation(alive)[:count]
    return np.sort(drawn)
