"""What is enriched where features fire: any sets over a universe of places, against a background
matched by strata.

1. A feature's foreground is the places (a token's place in any unit) where it fires most strongly.
2. Its background is every other place of the universe, weighted so that both hold the same shares
   of every stratum (`background.MatchedBackground`).
3. Sets are counted in both and tested: motifs and other sets by the hypergeometric tail, states by
   odds ratio and Fisher's exact test, gene sets through the genes near the places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.enrich.background import MatchedBackground, Strata
from petriscope.enrich.features import enrich_features
from petriscope.enrich.foregrounds import membership, strongest
from petriscope.enrich.genes import Links
from petriscope.enrich.genesets import GeneSets, enrich_gene_sets
from petriscope.enrich.states import state_enrichment
from petriscope.errors import UserError
from petriscope.probe.tokens import Tokens
from petriscope.shown import Printed, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Coded(Protocol):
    """Sparse codes that know their tokens (`sae.encode`)."""

    tokens: Any

    def scipy(self) -> sparse.csr_matrix:
        """(n, m)."""


@dataclass(frozen=True, eq=False)
class Sets:
    """Named sets of places, each place in any number of them (motif hits)."""

    names: Sequence[str]
    matrix: Any
    """(n, M) bool, dense or sparse."""
    places: pd.DataFrame | None = None
    """(n,) rows chrom, start: where each place lies, for codes of a part of them."""

    term, estimate, p, q = "name", "fold", "ln_p", "q"

    def __len__(self) -> int:
        """n, the places of the universe."""
        return int(self.matrix.shape[0])

    def tested(
        self, member: sparse.csr_matrix, strata: Strata, rows: np.ndarray, least: int
    ) -> pd.DataFrame:
        """The long table of a test of every set in every row of ``member`` over places ``rows``."""
        found = enrich_features(
            self.matrix[rows], MatchedBackground(member, strata), min_targets=least
        )
        return found.table(self.names)


@dataclass(frozen=True, eq=False)
class States:
    """A partition: each place in one state or none."""

    names: Sequence[str]
    code: np.ndarray
    """(n,) int, -1 where none."""
    places: pd.DataFrame | None = None

    term, estimate, p, q = "state", "odds_ratio", "ln_p", "q"

    def __len__(self) -> int:
        """n, the places of the universe."""
        return len(self.code)

    def tested(
        self, member: sparse.csr_matrix, strata: Strata, rows: np.ndarray, least: int
    ) -> pd.DataFrame:
        """As `Sets.tested`."""
        matched = MatchedBackground(member, strata)
        found = state_enrichment(
            member, self.code[rows], len(self.names), matched, min_targets=least
        )
        return found.table(self.names)


@dataclass(frozen=True, eq=False)
class NearGenes:
    """Gene sets, reached through the genes that claim each place."""

    sets: GeneSets
    links: Links
    places: pd.DataFrame | None = None

    term, estimate, p, q = "term", "fold", "ranked_ln_p", "ranked_q"

    def __len__(self) -> int:
        """n, the places of the universe."""
        return int(self.links.matrix.shape[0])

    def tested(
        self, member: sparse.csr_matrix, strata: Strata, rows: np.ndarray, least: int
    ) -> pd.DataFrame:
        """As `Sets.tested`; genes are held against the genes of all places that have a stratum."""
        links = Links(self.links.matrix[rows], self.links.genes)
        return enrich_gene_sets(member, links, self.sets, universe=strata.code >= 0).table


@dataclass(frozen=True, eq=False, repr=False)
class Enrichment(Printed):
    """Terms enriched where features fire, of `enrich`."""

    rows: pd.DataFrame
    """A row per feature and term: column feature, then those of the test, best first."""
    features: np.ndarray
    term: str
    estimate: str
    p: str
    q: str
    places: int
    """Of the universe that has a background."""
    strata: int
    foreground: np.ndarray
    """(F,) places in which each feature fires."""

    def table(self, top: int = 5) -> pd.DataFrame:
        """The ``top`` terms of each feature: feature, term, estimate, p, q."""
        best = self.rows.sort_values(["feature", self.p], kind="stable").groupby("feature")
        best = best.head(top).assign(p=lambda t: np.exp(t[self.p]), q=lambda t: t[self.q])
        order = {feature: place for place, feature in enumerate(self.features)}
        best = best.sort_values("feature", key=lambda f: f.map(order), kind="stable")
        return best[["feature", self.term, self.estimate, "p", "q"]].reset_index(drop=True)

    def plot(self, top: int = 1, alpha: float | None = None) -> Figure:
        """Features by the ``top`` terms of each: size is −log10 q, color log2 of the estimate; a
        ring marks q below ``alpha`` where one is given."""
        terms = list(dict.fromkeys(self.table(top)[self.term]))
        shown = self.rows[self.rows[self.term].isin(terms)]
        names = [str(feature) for feature in self.features]
        figure, axes = panel(3.2 + 0.3 * len(names), 1.5 + 0.24 * len(terms))
        with np.errstate(divide="ignore"):
            size = np.minimum(-np.log10(np.maximum(shown[self.q].to_numpy(float), 1e-300)), 50)
            color = np.clip(np.log2(shown[self.estimate].to_numpy(float)), -4, 4)
        level = -np.inf if alpha is None else alpha
        edge = ["black" if q < level else "none" for q in shown[self.q]]
        x = shown.feature.map({feature: i for i, feature in enumerate(self.features)})
        y = shown[self.term].map({term: i for i, term in enumerate(terms)})
        most = float(np.abs(color).max(initial=1.0))  # white is no enrichment
        dots = axes.scatter(
            x, y, s=12 + 12 * size, c=color, cmap="RdBu_r", vmin=-most, vmax=most, edgecolors=edge
        )
        axes.set_xticks(range(len(names)), names, rotation=90)
        axes.set_yticks(range(len(terms)), terms)
        axes.invert_yaxis()
        axes.margins(0.08)
        axes.set_xlabel("feature")
        figure.colorbar(dots, ax=axes, label=f"log2 {self.estimate.replace('_', ' ')}")
        return figure

    @property
    def heading(self) -> str:
        """What was tested, and over what family q is."""
        tested = self.rows.feature.nunique()
        return (
            f"{tested} of {len(self.features)} features tested; {self.places:,} places in "
            f"{self.strata} strata; q: Benjamini–Hochberg over {len(self.rows):,} tests"
        )


def enrich(
    codes: Coded,
    features: Sequence[int] | np.ndarray,
    sets: Sets | States | NearGenes,
    *,
    background: Strata | None = None,
    units: Sequence[int] | np.ndarray | None = None,
    most: int = 500,
    min_targets: int = 20,
) -> Enrichment:
    """Test which sets are enriched where features fire, against a matched background.

    Parameters
    ----------
    codes : Codes
        Sparse codes (n, m) with their tokens, as `SAE.encode` makes them.
    features : sequence of int
        Latents to test, each by itself.
    sets : Sets, States or NearGenes
        Sets over a universe of places: those of the codes' tokens (window by window, position by
        position), or more where ``sets.places`` says where each lies.
    background : Strata, optional
        A class per place of the same universe within which the background is matched; -1 leaves a
        place out. Without it every other place is background.
    units : sequence of int or (S,) bool, optional
        Units (biosamples, documents) whose tokens count; default all.
    most : int
        Places of a feature's foreground at most: where it fires most strongly.
    min_targets : int
        Features with fewer places that have a background are not tested.

    Returns
    -------
    Enrichment
        Prints as a table, `.table()` is a data frame, `.plot()` a figure.

    Raises
    ------
    UserError
        Where codes have no tokens, a feature or unit does not exist, or universes differ.

    Notes
    -----
    Source: motifs by HOMER's known-motif test (Heinz et al. 2010) on weighted counts; states by the
    odds ratio with Woolf's interval and Fisher's exact test; gene sets by GREAT (McLean et al.
    2010) and a test of ranked genes.

    Examples
    --------
    >>> import pandas as pd
    >>> from petriscope.sae.codes import Codes
    >>> windows = pd.DataFrame({"split": ["train"] * 2, "block": [0, 1]})
    >>> tokens = Tokens.grid(windows, units=1, positions=100)
    >>> fires = np.arange(200) % 4 == 0
    >>> rows, latent = np.r_[0, np.cumsum(fires)], np.zeros(50, np.int32)
    >>> codes = Codes(rows, latent, np.ones(50, np.float32), 1)
    >>> coded = type("Coded", (), {"tokens": tokens, "scipy": codes.scipy})
    >>> motif = Sets(["GATA"], (fires & (np.arange(200) % 8 == 0))[:, None])
    >>> print(enrich(coded, [0], motif).table().fold.item())
    150.0
    """
    if getattr(codes, "tokens", None) is None:
        raise UserError(
            "do not know their tokens", field="codes", remedy="Encode hidden states that do."
        )
    matrix, tokens = codes.scipy().tocsc(), codes.tokens
    wanted = np.asarray(features, dtype=np.int64).ravel()
    bad = wanted[(wanted < 0) | (wanted >= matrix.shape[1])]
    if not wanted.size or bad.size:
        what = f"has no feature {bad[0]}" if bad.size else "names none"
        remedy = f"The codes have features 0 to {matrix.shape[1] - 1}."
        raise UserError(what, field="features", remedy=remedy)
    place, n = _places(tokens)
    rows = _universe(tokens, sets, n)
    if background is not None and len(background.code) != len(sets):
        raise UserError(
            f"has {len(background.code)} places, the sets {len(sets)}",
            field="background",
            remedy="Give both over the same universe.",
        )
    strata = (
        Strata(np.zeros(n, dtype=np.int64), ["all"])
        if background is None
        else Strata(background.code[rows], background.names)
    )
    counted = _counted(units, tokens.units)[tokens.unit]
    bins = []
    for feature in wanted:
        span = slice(matrix.indptr[feature], matrix.indptr[feature + 1])
        kept = counted[matrix.indices[span]]
        score = np.zeros(n, dtype=np.float32)
        np.maximum.at(score, place[matrix.indices[span][kept]], matrix.data[span][kept])
        bins.append(strongest(score, most))
    found = sets.tested(membership(bins, n), strata, rows, min_targets)
    found["feature"] = wanted[found.feature.to_numpy(np.int64)]
    return Enrichment(
        found,
        wanted,
        *(sets.term, sets.estimate, sets.p, sets.q),
        places=int((strata.code >= 0).sum()),
        strata=len(strata.names),
        foreground=np.array([len(row) for row in bins]),
    )


def _counted(units: Sequence[int] | np.ndarray | None, n: int) -> np.ndarray:
    """(S,) bool of the units asked for."""
    if units is None:
        return np.ones(n, dtype=bool)
    asked = np.asarray(units)
    if asked.dtype == bool and len(asked) == n:
        return asked
    if asked.dtype == bool or asked.size == 0 or asked.min() < 0 or asked.max() >= n:
        raise UserError(
            "are not units of the codes",
            field="units",
            remedy=f"Name units 0 to {n - 1}, or give {n} truth values.",
        )
    chosen = np.zeros(n, dtype=bool)
    chosen[asked] = True
    return chosen


def _places(tokens: Tokens) -> tuple[np.ndarray, int]:
    """(rows,) place of every token, and how many places there are: window by window, position by
    position."""
    if tokens.positions is not None:
        return tokens.window * tokens.positions + tokens.position, (
            len(tokens.windows) * tokens.positions
        )
    pairs = np.stack([tokens.window, tokens.position], axis=1)
    distinct, place = np.unique(pairs, axis=0, return_inverse=True)
    return place.ravel(), len(distinct)


def _universe(tokens: Tokens, sets: Sets | States | NearGenes, n: int) -> np.ndarray:
    """(n,) row of each place of the codes in the universe of the sets."""
    if sets.places is None or "chrom" not in tokens.windows or tokens.width is None:
        if len(sets) != n:
            raise UserError(
                f"are over {len(sets)} places, the codes over {n}",
                field="sets",
                remedy="Give sets over the codes' places, or say in `places` where each lies.",
            )
        return np.arange(n)
    chrom = np.repeat(tokens.windows.chrom.to_numpy(), tokens.shape[2])
    if len(sets) == n and np.array_equal(sets.places.start, tokens.starts().ravel()):
        return np.arange(n)
    known = pd.MultiIndex.from_arrays([sets.places.chrom, sets.places.start])
    rows = known.get_indexer(pd.MultiIndex.from_arrays([chrom, tokens.starts().ravel()]))
    if (rows < 0).any():
        at = int(np.flatnonzero(rows < 0)[0])
        raise UserError(
            f"lack the place {chrom[at]}:{tokens.starts().ravel()[at]} of the codes",
            field="sets",
            remedy="Make the sets of the same run as the codes.",
        )
    return rows
