"""ChromHMM segmentations and what features' bins hold of them: vocabularies, BED reader, states of
bins, and odds ratios with Woolf intervals, Fisher's exact test and a circular-shift test."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import norm

from petriscope.enrich.background import MatchedBackground
from petriscope.enrich.foregrounds import Foregrounds
from petriscope.enrich.tails import Alternative, benjamini_hochberg, log_fisher
from petriscope.errors import UserError
from petriscope.genome.overlap import Intervals, overlaps, read_bed, within_genome

STEP = 200
"""bp: ChromHMM's step; its last segment may reach past the chromosome's end by less than one."""
UNASSIGNED = -1


@dataclass(frozen=True)
class State:
    """One chromatin state."""

    number: int
    name: str
    description: str
    color: str
    """#rrggbb"""
    group: str
    """promoter, enhancer, transcribed, bivalent, heterochromatin, repressed, quiescent or other."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A genome cut into states. Segments are sorted and never overlap; stretches between them are
    unassigned."""

    chrom: np.ndarray
    start: np.ndarray
    end: np.ndarray
    code: np.ndarray
    """(n,) int64 index into ``states``."""
    states: tuple[State, ...]
    vocabulary: str
    """roadmap15, roadmap18, roadmap25, rederived12, varshney18, or 'file' where the file's own
    names were taken."""
    notes: tuple[str, ...]
    """What was mended or is missing, in words: overlaps cut, gaps, states taken from the file."""


def vocabularies() -> dict[str, tuple[State, ...]]:
    """Name → states in numerical order: roadmap15, roadmap18, roadmap25, rederived12,
    varshney18."""
    with (
        resources.files("petriscope.enrich").joinpath("states.tsv").open(encoding="utf-8") as handle
    ):
        frame = pd.read_csv(handle, sep="\t")
    return {
        str(name): tuple(
            State(int(row["number"]), row["name"], row["description"], row["colour"], row["group"])
            for row in group.to_dict("records")
        )
        for name, group in frame.groupby("vocabulary", sort=False)
    }


def read_segmentation(
    path: str | Path, states_file: str | Path | None = None, sizes: Mapping[str, int] | None = None
) -> Segmentation:
    """Read a segmentation BED (4 or 9 columns, plain or gzipped; column 4 = state, e.g. '13_EnhA1',
    'E13' or 'EnhA1').

    The vocabulary is the built-in one that holds every (number, name) of the file, else the names
    of ``states_file`` (columns number, name, colour), else the file's own names with the colors of
    its column 9. Where segments overlap the earlier one keeps the shared bases; this and gaps are
    said in ``notes``. Raises UserError naming file and line; where chromosome ``sizes`` are given,
    also for a segment that ends a step of 200 bp (ChromHMM's) past its chromosome.
    """
    frame = read_bed(path, min_columns=4)
    within_genome(frame, sizes or {}, path, slack=STEP - 1)
    labels = frame["name"].astype(str)
    distinct = sorted(labels.unique(), key=lambda label: (_split(label)[0] or 0, label))
    given = _read_states(states_file) if states_file is not None else None
    vocabulary, states, index = _match(distinct, given, frame, path)
    notes = (
        []
        if vocabulary != "file"
        else [f"{len(states)} states not in a known vocabulary: names taken from the file"]
    )
    code = labels.map(index).to_numpy(dtype=np.int64)
    order = np.lexsort((frame["end"], frame["start"], frame["chrom"]))
    chrom, start, end = (frame[c].to_numpy()[order] for c in ("chrom", "start", "end"))
    code = code[order]
    chrom, start, end, code, cut = _without_overlap(chrom, start, end, code)
    if cut:
        notes.append(
            f"{cut:,} segments overlapped an earlier one: the earlier one kept the shared bases"
        )
    same = chrom[1:] == chrom[:-1]
    gap = np.where(same, start[1:] - end[:-1], 0)
    if (gap > 0).any():
        notes.append(
            f"{int((gap > 0).sum()):,} gaps of {int(gap.sum()):,} bp in all between segments: "
            f"left unassigned"
        )
    return Segmentation(chrom, start, end, code, states, vocabulary, tuple(notes))


def overlap_bases(
    bins: Intervals,
    segmentation: Segmentation,
    engine: Literal["arithmetic", "bedtools"] = "arithmetic",
) -> np.ndarray:
    """(n, S) int64 bases of each interval in each state; irregular and overlapping intervals are
    fine.

    Engine ``bedtools`` asks ``bedtools intersect`` through pybedtools for the same numbers, some
    ten times slower.
    """
    shape = (len(bins.start), len(segmentation.states))
    if engine == "bedtools":
        return _bedtools_bases(bins, segmentation)
    pairs = overlaps(bins, Intervals(segmentation.chrom, segmentation.start, segmentation.end))
    flat = pairs.query * shape[1] + segmentation.code[pairs.subject]
    counted = np.bincount(flat, weights=pairs.bases, minlength=shape[0] * shape[1])
    return counted.astype(np.int64).reshape(shape)


def majority_state(
    bins: Intervals, segmentation: Segmentation, min_share: float = 0.5
) -> np.ndarray:
    """(n,) int64 state index with the most bases of each bin; ties go to the lower number.

    -1 where less than ``min_share`` of the bin is assigned. Raises UserError when no bin lies on a
    chromosome of the segmentation.
    """
    known, asked = (sorted(set(chrom.tolist())) for chrom in (segmentation.chrom, bins.chrom))
    if asked and not set(known) & set(asked):
        raise UserError(
            f"the bins lie on {', '.join(asked[:3])} and the segmentation on "
            f"{', '.join(known[:3])}",
            remedy="Use the same chromosome names (chr1 or 1) and the same genome build in both",
        )
    bases = overlap_bases(bins, segmentation)
    best = bases.argmax(axis=1)
    return np.where(bases.sum(axis=1) >= min_share * (bins.end - bins.start), best, UNASSIGNED)


def one_hot(states: np.ndarray, n_states: int) -> np.ndarray:
    """(n, S) bool; rows of unassigned bins are empty."""
    return states[:, None] == np.arange(n_states)[None, :]


def _split(label: str) -> tuple[int | None, str]:
    """Number and name of a state label."""
    found = re.fullmatch(r"[EU]?(\d+)(?:[_\s](.+))?", label)
    return (int(found[1]), found[2] or "") if found else (None, label)


def _plain(name: str) -> str:
    """A state name without the marks in which files differ (5' and 5p, case, punctuation)."""
    return re.sub(r"[^a-z0-9]", "", name.replace("'", "p").lower())


def _match(
    labels: list[str], given: tuple[State, ...] | None, frame: pd.DataFrame, path: str | Path
) -> tuple[str, tuple[State, ...], dict[str, int]]:
    """Vocabulary, its states, and the index of every label."""
    candidates = {"states file": given} if given is not None else vocabularies()
    parts = {label: _split(label) for label in labels}
    for name, states in candidates.items():
        by_number = {s.number: i for i, s in enumerate(states)}
        by_name = {
            _plain(text): i for i, s in enumerate(states) for text in (s.description, s.name)
        }
        index: dict[str, int] = {}
        for label, (number, text) in parts.items():
            if (
                not text
                and number is not None
                and (given is not None or len(labels) == len(states))
            ):
                where = by_number.get(number)
            else:
                where = by_name.get(_plain(text))
                if where is not None and number is not None and states[where].number != number:
                    where = None
            if where is not None:
                index[label] = where
        if len(index) == len(labels):
            return name, states, index
    if given is not None:
        missing = next(label for label in labels if label not in index)
        raise UserError(
            f"state '{missing}' is not in the states file",
            file=path,
            field="column 4",
            remedy="Add it there",
        )
    colors = dict(zip(frame["name"].astype(str), frame["colour"])) if "colour" in frame else {}
    own = tuple(
        State(
            parts[label][0] or i + 1,
            parts[label][1] or label,
            label,
            _hex(colors.get(label)),
            "other",
        )
        for i, label in enumerate(labels)
    )
    return "file", own, {label: i for i, label in enumerate(labels)}


def _hex(rgb: object) -> str:
    """#rrggbb of a BED color '255,0,0'; gray where there is none."""
    found = re.fullmatch(r"(\d+),(\d+),(\d+),?", str(rgb))
    return (
        "#{:02x}{:02x}{:02x}".format(*(min(int(x), 255) for x in found.groups()))
        if found
        else "#999999"
    )


def _read_states(path: str | Path) -> tuple[State, ...]:
    try:
        frame = pd.read_csv(path, sep="\t", dtype=str)
        frame["number"] = frame["number"].astype(int)
        known = {_plain(s.name): s.group for states in vocabularies().values() for s in states}
        return tuple(
            State(
                int(row["number"]),
                row["name"],
                row.get("description", row["name"]),
                row["colour"],
                known.get(_plain(row["name"]), "other"),
            )
            for _, row in frame.sort_values("number").iterrows()
        )
    except (OSError, KeyError, ValueError) as error:
        raise UserError(
            f"is not a table of states ({error})",
            file=path,
            remedy="Give tab-separated columns number, name, colour",
        ) from error


def _without_overlap(
    chrom: np.ndarray, start: np.ndarray, end: np.ndarray, code: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """Cut every sorted segment at the furthest end before it; those left empty disappear."""
    first = np.flatnonzero(np.concatenate([[True], chrom[1:] != chrom[:-1]]))
    group = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(chrom))))
    reach = np.maximum.accumulate(end + group * (end.max(initial=0) + 1)) - group * (
        end.max(initial=0) + 1
    )
    before = np.where(
        np.concatenate([[True], chrom[1:] != chrom[:-1]]), 0, np.concatenate([[0], reach[:-1]])
    )
    trimmed = np.maximum(start, before)
    cut = int((trimmed > start).sum())
    kept = trimmed < end
    return chrom[kept], trimmed[kept], end[kept], code[kept], cut


def _bedtools_bases(bins: Intervals, segmentation: Segmentation) -> np.ndarray:
    import pybedtools

    query = pd.DataFrame({**bins._asdict(), "name": np.arange(len(bins.start))})
    subject = pd.DataFrame(
        {
            "chrom": segmentation.chrom,
            "start": segmentation.start,
            "end": segmentation.end,
            "name": segmentation.code,
        }
    )
    a, b = (pybedtools.BedTool.from_dataframe(frame) for frame in (query, subject))
    result = np.zeros((len(bins.start), len(segmentation.states)), dtype=np.int64)
    for record in a.intersect(b, wao=True):
        fields = record.fields
        if int(fields[8]):
            result[int(fields[3]), int(fields[7])] += int(fields[8])
    return result


@dataclass(frozen=True, eq=False)
class StateEnrichment:
    """F features x S states; NaN where a feature was not tested."""

    odds_ratio: np.ndarray
    """(F, S) with 0.5 added to every cell (Haldane–Anscombe)."""
    low: np.ndarray
    """(F, S) lower end of Woolf's interval."""
    high: np.ndarray
    """(F, S) upper end."""
    ln_p: np.ndarray
    """(F, S) ln p of Fisher's exact test."""
    q: np.ndarray
    """(F, S) Benjamini–Hochberg over all tested features x states."""
    share: np.ndarray
    """(F, S) share of the foreground in each state."""
    background_share: np.ndarray
    """(F, S) share of the (weighted) background."""
    targets: np.ndarray
    """(F,) assigned foreground bins."""
    tested: np.ndarray
    """(F,) bool."""
    level: float
    alternative: str

    def table(
        self, states: Sequence[str], features: Sequence[object] | None = None
    ) -> pd.DataFrame:
        """Long table of the tested features, a row per feature and state."""
        f, s = np.nonzero(np.broadcast_to(self.tested[:, None], self.q.shape))
        columns = ("odds_ratio", "low", "high", "ln_p", "q", "share", "background_share")
        return pd.DataFrame(
            {
                "feature": np.asarray(features)[f] if features is not None else f,
                "state": np.asarray(states, dtype=object)[s],
                **{name: getattr(self, name)[f, s] for name in columns},
                "targets": self.targets[f],
            }
        )


def state_enrichment(
    membership: sparse.spmatrix,
    states: np.ndarray,
    n_states: int,
    background: MatchedBackground | None = None,
    *,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
    min_targets: int = 20,
) -> StateEnrichment:
    """Odds of each state inside a feature's foreground against outside.

    ``membership`` (F, n) sparse bool; ``states`` (n,) state index, -1 = unassigned, which takes no
    part. Without ``background`` every other assigned bin is the background and Fisher's p is exact;
    with one its weighted counts are rounded to whole numbers first. Features with fewer than
    ``min_targets`` assigned foreground bins are not tested.
    """
    if membership.shape[1] != len(states):
        raise UserError(
            f"membership has {membership.shape[1]} bins but {len(states)} states are given",
            remedy="Give both over the same universe of bins",
        )
    onehot = one_hot(states, n_states)
    if background is None:
        member = sparse.csr_matrix(membership, dtype=bool).astype(np.float64)
        inside = member @ onehot.astype(np.float64)
        outside = onehot.sum(axis=0)[None, :] - inside
    else:
        counts = background.counts(onehot)
        inside, outside = counts.target, np.rint(counts.background)
    fore, back = inside.sum(axis=1, keepdims=True), outside.sum(axis=1, keepdims=True)
    tested = (fore[:, 0] >= min_targets) & (back[:, 0] >= 1)
    a, b, c, d = inside[tested], (fore - inside)[tested], outside[tested], (back - outside)[tested]
    h = [cell + 0.5 for cell in (a, b, c, d)]
    log_or = np.log(h[0]) - np.log(h[1]) - np.log(h[2]) + np.log(h[3])
    width = norm.ppf(0.5 + level / 2) * np.sqrt(sum(1 / cell for cell in h))

    def spread(values: np.ndarray) -> np.ndarray:
        full = np.full(inside.shape, np.nan)
        full[tested] = values
        return full

    ln_p = spread(log_fisher(a, a + b + c + d, a + c, a + b, alternative=alternative))
    return StateEnrichment(
        odds_ratio=spread(np.exp(log_or)),
        low=spread(np.exp(log_or - width)),
        high=spread(np.exp(log_or + width)),
        ln_p=ln_p,
        q=benjamini_hochberg(ln_p),
        share=spread(a / fore[tested]),
        background_share=spread(c / back[tested]),
        targets=fore[:, 0].astype(np.int64),
        tested=tested,
        level=level,
        alternative=alternative,
    )


def shift_p(
    membership: sparse.spmatrix,
    states: np.ndarray,
    n_states: int,
    segment: np.ndarray,
    *,
    rng: np.random.Generator,
    n_shifts: int = 200,
) -> np.ndarray:
    """(F, S) one-sided p of each state's foreground count when the states are shifted round each
    genome segment.

    Bins must be in genome order; ``segment`` (n,) numbers the stretches (windows, or contiguous
    runs on a chromosome) round which states move, all by the same random share of their length.
    Both sides keep their runs, so clustered firing does not pass for enrichment. p = (b + 1) / (N +
    1).
    """
    segment = np.asarray(segment)
    edges = np.flatnonzero(np.concatenate([[True], segment[1:] != segment[:-1], [True]]))
    if len(np.unique(segment)) != len(edges) - 1:
        raise UserError(
            "the bins of a segment are not together", remedy="Sort the bins by chromosome and start"
        )
    first, length = np.repeat(edges[:-1], np.diff(edges)), np.repeat(np.diff(edges), np.diff(edges))
    member = sparse.csr_matrix(membership, dtype=bool).astype(np.float64)
    seen = member @ one_hot(states, n_states).astype(np.float64)
    as_high = np.zeros(seen.shape)
    place = np.arange(len(states)) - first
    for _ in range(n_shifts):
        step = 1 + np.floor(rng.uniform(0, 1) * (length - 1)).astype(np.int64)
        moved = states[first + (place + step) % length]
        as_high += member @ one_hot(moved, n_states).astype(np.float64) >= seen
    return (as_high + 1) / (n_shifts + 1)


def tested_states(
    fore: Foregrounds,
    rows: np.ndarray,
    segmentation: Segmentation,
    *,
    rng: np.random.Generator,
    n_shifts: int,
) -> pd.DataFrame:
    """Every state of a segmentation in some groups of ``fore``, against their matched background.

    Columns: group, those of `StateEnrichment.table`, shift_p (`shift_p` round each chromosome),
    state_group, color.
    """
    member, names = fore.matrix[rows], [state.name for state in segmentation.states]
    states = majority_state(Intervals.of(fore.bins), segmentation)
    found = state_enrichment(member, states, len(names), fore.background(rows))
    table = found.table(names, features=fore.groups.group.to_numpy()[rows])
    chromosome = pd.factorize(fore.bins.chrom)[0]
    shifted = shift_p(member, states, len(names), chromosome, rng=rng, n_shifts=n_shifts)
    by_name = {state.name: state for state in segmentation.states}
    return table.rename(columns={"feature": "group"}).assign(
        shift_p=shifted[np.repeat(found.tested, len(names)).reshape(shifted.shape)],
        state_group=[by_name[name].group for name in table.state],
        colour=[by_name[name].color for name in table.state],
    )


class Odds(NamedTuple):
    """Odds ratio of some states taken together, by group, with its 95 % interval."""

    share: pd.Series
    odds: pd.Series
    low: pd.Series
    high: pd.Series


def pooled_odds(table: pd.DataFrame) -> Odds:
    """The states of ``table`` (group, share, background_share, targets) against all others.

    Haldane–Anscombe odds ratio with Woolf's interval, the background taken to be as large as the
    foreground (conservative).
    """
    by_group = table.groupby("group")
    share, background = by_group.share.sum(), by_group.background_share.sum()
    targets = by_group.targets.first()
    a, c = share * targets + 0.5, background * targets + 0.5
    b, d = (1 - share) * targets + 0.5, (1 - background) * targets + 0.5
    log_odds, error = np.log(a * d / (b * c)), np.sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    low, high = np.exp(log_odds - 1.96 * error), np.exp(log_odds + 1.96 * error)
    return Odds(share, np.exp(log_odds), low, high)
