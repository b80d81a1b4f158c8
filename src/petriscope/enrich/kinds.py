"""The kinds of annotation: one record each says what a stage's table holds, when it may name a
feature, and by which words the filter language and the screens know it.

A kind is a stage that writes results/STAGE/enrichment.csv: a row per group and term, with the
columns of the groups, the term, an estimate, ln p and q. Whoever adds one adds a record here (see
CONTRIBUTING.md): labels, atlas, filters, search, screens and the ledger of tests read this table.
Standard library only, so that the screens start quickly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Kind:
    """One kind of annotation."""

    name: str
    """What the atlas calls it."""
    stage: str
    part: str
    """What a label calls its part: the column of labels.csv."""
    term: str
    """Column of the term."""
    estimate: str
    """Column of the effect: an odds ratio or a fold."""
    told: str
    """The evidence behind a label in words, filled in with term and ``numbers``."""
    numbers: Mapping[str, str]
    """Columns that labels.csv keeps → their short names; the first is the estimate."""
    filters: tuple[str, ...]
    """Words of the filter language, the first of which search results use: `state:Enh`."""
    one: str
    """A term of it in words: `gene set`."""
    many: str
    tests: tuple[tuple[str, str, str, str], ...]
    """Adjusted p-values of the table for the ledger of tests: column, test, family, units."""
    at_most_alpha: tuple[str, ...] = ("q",)
    """Columns that must not exceed alpha for a label, where the table has them."""
    at_least: Mapping[str, float] = field(default_factory=dict)
    """Column → the least it must be for a label."""
    beyond: tuple[str, str] | None = None
    """The largest excess of the first column over the second names the feature; else the least
    p."""
    cut: str | None = None
    """A term's name ends before this (HOMER's `factor/experiment`)."""
    interval: tuple[str, str] | None = None
    """Columns of the estimate's 95 % interval."""
    scope: str | None = None
    """Column that says in what the term was tested."""
    ln_p: str = "ln_p"
    q: str = "q"
    """Columns of the test that counts, where the table has several."""


ENRICHED = (
    Kind(
        name="chromhmm",
        stage="chromhmm",
        part="state",
        term="state",
        estimate="odds_ratio",
        interval=("low", "high"),
        scope="segmentation",
        at_most_alpha=("q", "shift_p"),
        at_least={"low": 1.5, "share": 0.1},
        beyond=("share", "background_share"),
        numbers={"odds_ratio": "odds", "low": "low", "high": "high", "q": "q", "share": "share"},
        told="{term} odds {odds:.1f} [{low:.1f}, {high:.1f}] q {q:.1g}, {share:.0%} of bins",
        filters=("state", "chromhmm"),
        one="state",
        many="states",
        tests=(
            (
                "q",
                "state in the bins of a feature or group (odds ratio)",
                "features or groups x states",
                "bins",
            ),
        ),
    ),
    Kind(
        name="motif",
        stage="motifs",
        part="motif",
        term="name",
        cut="/",
        estimate="fold",
        at_least={"fold": 1.2},
        numbers={"fold": "fold", "q": "q"},
        told="{term} {fold:.1f}x q {q:.1g}",
        filters=("motif",),
        one="motif",
        many="motifs",
        tests=(
            (
                "q",
                "motif in the bins of a feature or group",
                "features or groups x motifs",
                "bins",
            ),
        ),
    ),
    Kind(
        name="geneset",
        stage="genesets",
        part="process",
        term="term",
        estimate="fold",
        ln_p="ranked_ln_p",
        q="ranked_q",
        at_most_alpha=("q", "region_q"),
        at_least={"fold": 1.5},
        numbers={"fold": "fold", "q": "q", "region_q": "region_q"},
        told="{term} {fold:.1f}x q {q:.1g}",
        filters=("go", "geneset"),
        one="gene set",
        many="gene sets",
        tests=(
            (
                "q",
                "genes near a feature's bins (hypergeometric)",
                "features or groups x terms",
                "genes",
            ),
            ("adjusted_q", "genes, adjusted for reach", "features or groups x terms", "genes"),
            (
                "region_q",
                "bins in a term's domains (binomial)",
                "features or groups x terms",
                "bins",
            ),
        ),
    ),
)
"""Those whose stage writes enrichment.csv."""
SCORED = (
    Kind(
        name="concept",
        stage="concepts",
        part="concept",
        term="concept",
        estimate="f1",
        numbers={"f1": "F1"},
        told="{term} F1 {f1:.2f}",
        filters=("concept",),
        one="concept",
        many="concepts",
        tests=(),
    ),
    Kind(
        name="track",
        stage="tracks",
        part="track",
        term="track",
        estimate="r",
        numbers={"r": "r"},
        told="{term} r {r:.2f}",
        filters=("track",),
        one="track",
        many="tracks",
        tests=(),
    ),
    Kind(
        name="network",
        stage="networks",
        part="network",
        term="network",
        estimate="fold",
        numbers={"fold": "fold"},
        told="edges of {term} {fold:.1f}x",
        filters=("network",),
        one="network",
        many="networks",
        tests=(),
    ),
)
"""Those that score how well a feature tells a term, token by token, or gene by gene."""
KINDS = (*ENRICHED, *SCORED)
BY_NAME = {kind.name: kind for kind in KINDS}
