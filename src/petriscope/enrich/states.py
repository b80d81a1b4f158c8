"""ChromHMM segmentations and what features' bins hold of them: vocabularies, BED reader, states of
bins, and odds ratios with Woolf intervals, Fisher's exact test and a circular-shift test."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from petriscope.names import did_you_mean, exactly
from petriscope.textfile import open_text, text_lines

STEP = 200
"""bp: ChromHMM's step; its last segment may reach past the chromosome's end by less than one."""
UNASSIGNED = -1
ACTIVE = ("promoter", "enhancer", "active")
GROUPS = (
    *ACTIVE,
    *("transcribed", "bivalent", "heterochromatin", "repressed", "quiescent", "inactive"),
    "other",
)
"""What a state may be; *active* and *inactive* are for a user who says no more."""
_COMMENT = re.compile(r"#|(track|browser)(\s|$)")
STATE_COLUMNS = ("number", "name", "colour", "description", "group")


@dataclass(frozen=True)
class State:
    """One chromatin state."""

    number: int
    name: str
    description: str
    color: str
    """#rrggbb"""
    group: str
    """One of `GROUPS`."""


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
        frame = pd.read_csv(handle, sep="	", keep_default_na=False)
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

    The vocabulary is that of ``states_file`` (`read_states`) where one is given, else the built-in
    one that holds every name of the file under its number, else the file's own names with the
    colors of its column 9, of which nothing is known: neither numbers alone nor how many there are
    tell a vocabulary. States that share a name keep their numbers in it (`4_Strong_Enhancer`).
    Where segments overlap the earlier one keeps the shared bases; this and gaps are said in
    ``notes``. Raises UserError naming file and line; where chromosome ``sizes`` are given, also for
    a segment that ends a step of 200 bp (ChromHMM's) past its chromosome.
    """
    frame = read_bed(path, min_columns=4)
    within_genome(frame, sizes or {}, path, slack=STEP - 1)
    labels = frame["name"].str.strip()
    if (labels == "").any():
        row = frame[labels == ""].iloc[0]
        raise UserError(
            f"the state at {row['chrom']}:{row['start']}-{row['end']} has no name",
            file=path,
            field="column 4",
            remedy="Write it there, or remove the line.",
        )
    colors = dict(zip(labels, frame["colour"])) if "colour" in frame else {}
    given = read_states(states_file) if states_file is not None else None
    vocabulary, states, index = _match(_in_order(labels), given, colors, path)
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


class Labels(NamedTuple):
    """What a segmentation's file calls its states, without its segments."""

    vocabulary: str
    states: tuple[State, ...]
    """All of the vocabulary."""
    present: tuple[str, ...]
    """Names of those in the file."""


def read_labels(path: str | Path, given: tuple[State, ...] | None = None) -> Labels:
    """The states of a segmentation's file: one quick pass, for a look before any work.

    ``given``: the user's own vocabulary (`read_states`).
    """
    path = Path(path)
    found: dict[str, str] = {}
    for number, line in open_text(path):
        if not line.strip() or _COMMENT.match(line):
            continue
        fields = line.split("\t", 9) if "\t" in line else line.split(None, 9)
        if len(fields) < 4 or not fields[3].strip():
            raise UserError(
                "has no state",
                file=path,
                field=f"line {number}",
                remedy="Give chromosome, start, end and state, separated by tabs.",
            )
        if fields[3] not in found:
            found[fields[3]] = fields[8] if len(fields) > 8 else ""
    if not found:
        raise UserError("the file holds no interval", file=path, remedy="Give a segmentation.")
    colors = {label.strip(): color for label, color in found.items()}
    vocabulary, states, index = _match(_in_order(colors), given, colors, path)
    present = {index[label] for label in colors}
    return Labels(vocabulary, states, tuple(states[i].name for i in sorted(present)))


def _in_order(labels: Iterable[str]) -> list[str]:
    return sorted(set(labels), key=lambda label: (_split(label)[0] or 0, label))


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
    found = re.fullmatch(r"[EU]?([0-9]{1,9})(?:[_\s](.+))?", label)
    return (int(found[1]), found[2] or "") if found else (None, label)


def _plain(name: str) -> str:
    """A state name without the marks in which files differ (5' and 5p, space and underscore)."""
    return re.sub(r"[\s_/]+", "_", name.replace("'", "p").strip())


def _match(
    labels: list[str], given: tuple[State, ...] | None, colors: Mapping[str, str], path: str | Path
) -> tuple[str, tuple[State, ...], dict[str, int]]:
    """Vocabulary, its states, and the index of every label."""
    candidates = {"states file": given} if given is not None else vocabularies()
    for vocabulary, states in candidates.items():
        found = {label: _place(label, states, by_number=given is not None) for label in labels}
        index = {label: place for label, place in found.items() if place is not None}
        if len(index) == len(labels):
            return vocabulary, _told_apart(states), index
    if given is not None:
        missing = next(label for label in labels if label not in index)
        known = [f"{state.number}_{state.name}" for state in given]
        raise UserError(
            f"state '{missing}' is not in the states file",
            file=path,
            field="column 4",
            remedy=f"Add it there. {did_you_mean(missing, known, kind='It holds')}",
        )
    parts = {label: _split(label) for label in labels}
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
    return "file", _told_apart(own), {label: i for i, label in enumerate(labels)}


def _place(label: str, states: Sequence[State], *, by_number: bool) -> int | None:
    """The state that a label of a file is: by its name, and its number where it has one; a number
    alone only in a vocabulary that the user gave."""
    number, text = _split(label)
    fitting = [
        i
        for i, state in enumerate(states)
        if (number is None or state.number == number)
        and ((by_number and number is not None) if not text else _is_called(state, text))
    ]
    if not fitting and by_number:  # a name that looks like a number with a name
        fitting = [i for i, state in enumerate(states) if label == state.name]
    return fitting[0] if len(fitting) == 1 else None


def _is_called(state: State, text: str) -> bool:
    return _plain(text) in (_plain(state.name), _plain(state.description))


def _told_apart(states: Sequence[State]) -> tuple[State, ...]:
    """The states, those that share a name with their number before it; where that is not enough,
    all of them, or all as the file labels them."""
    shared = Counter(state.name for state in states)
    numbered = [f"{state.number}_{state.name}" for state in states]
    some = [long if shared[s.name] > 1 else s.name for s, long in zip(states, numbered)]
    labels = [state.description for state in states]
    names = next((n for n in (some, numbered) if len(set(n)) == len(states)), labels)
    return tuple(replace(state, name=name) for state, name in zip(states, names))


def _hex(rgb: object) -> str:
    """#rrggbb of a BED color '255,0,0'; gray where there is none."""
    found = re.fullmatch(r"(\d+),(\d+),(\d+),?", str(rgb))
    return (
        "#{:02x}{:02x}{:02x}".format(*(min(int(x), 255) for x in found.groups()))
        if found
        else "#999999"
    )


def read_states(path: str | Path) -> tuple[State, ...]:
    """A user's vocabulary: tab-separated columns number, name, colour, and where wanted description
    and group, under a line that names them.

    Without a group (no such column, or an empty entry) a state whose name a built-in vocabulary
    has takes that one's, any other is *other*. Raises UserError naming file, line and remedy.
    """
    lines = [line.split("\t") for line in text_lines(path)]
    header = [name.strip().removeprefix("#") for name in lines[0]] if lines else []
    remedy = "Give tab-separated columns number, name, colour"
    columns = ["colour" if name == "color" else name for name in header]
    if missing := [name for name in ("number", "name", "colour") if name not in columns]:
        raise UserError(
            f"is not a table of states (no column {missing[0]})", file=path, remedy=remedy
        )
    for name in columns:
        exactly(name, STATE_COLUMNS, file=path, field="column", kind="Columns")
        if columns.count(name) > 1:
            remedy = "Name each column once."
            raise UserError(f"column {name} occurs twice", file=path, remedy=remedy)
    known = {_plain(s.name): s.group for states in vocabularies().values() for s in states}
    states: dict[int, State] = {}
    for line, fields in enumerate(lines[1:], start=2):
        if not any(field.strip() for field in fields):
            continue
        where = f"line {line}"
        row = dict(zip(columns, (field.strip() for field in fields)))
        if short := [name for name in ("number", "name", "colour") if name not in row]:
            raise UserError(f"has no {short[0]}", file=path, field=where, remedy=remedy)
        number = row["number"].removeprefix("E")
        if not number.isascii() or not number.isdigit() or len(number) > 9:
            raise UserError(
                f"is not a table of states (number {row['number']!r})",
                file=path,
                field=where,
                remedy=remedy,
            )
        if not row["name"]:
            what = f"state {number} has no name"
            raise UserError(what, file=path, field=where, remedy=remedy)
        if int(number) in states:
            raise UserError(
                f"number {number} occurs twice",
                file=path,
                field=where,
                remedy="Give each state its own number.",
            )
        group = row.get("group") or known.get(_plain(row["name"]), "other")
        exactly(group, GROUPS, file=path, field=f"{where}, group", kind="Groups")
        description = row.get("description") or row["name"]
        states[int(number)] = State(int(number), row["name"], description, row["colour"], group)
    if not states:
        raise UserError("is not a table of states (it holds none)", file=path, remedy=remedy)
    return tuple(states[number] for number in sorted(states))


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

    if shutil.which("bedtools") is None:
        raise UserError(
            "is not installed",
            field="engine: bedtools",
            remedy="Install it (`apt-get install bedtools`), or leave the engine at arithmetic.",
        )
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
