"""Whether a model follows the planted long-range rule: one base of a distant anchor is substituted,
and the stream at the masked token that the anchor decides is read.

The change is compared with that of a base at the same distance in background and in another word,
and all of it with a randomly initialized model. `masked_accuracy` asks the same of the prediction:
how often is the masked token right, where chance is one in the number of kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import pandas as pd
import torch

from petriscope.studies.dna.data.dataset import Truth
from petriscope.studies.dna.dependency import LETTERS, streams
from petriscope.studies.dna.locality import bootstrap_weights, interval
from petriscope.studies.dna.model.nucleotide import NucleotideTransformer
from petriscope.studies.dna.model.tokens import (
    MASK,
    Form,
    TokenTable,
    TokenTables,
    tokenize,
)

KINDS = ("anchor", "background", "word")
TARGETS, WORDS = 1000, 300
"""masked tokens that are predicted, at most"""
Item = TypeVar("Item")
LEAST = 20
"""sequences with the rule on the frame that a probe needs"""


class Sites(NamedTuple):
    """Where one sequence is read and substituted; token numbers without `<cls>`."""

    sequence: int
    target: int
    """the token that the rule fixes"""
    anchor: np.ndarray
    """(3,) tokens of the anchor"""
    background: np.ndarray
    """(3,) tokens of background, of the nearest distances there are"""
    word: np.ndarray
    """(3,) tokens of other words, likewise"""


def rule_sites(elements: pd.DataFrame, ids: Sequence[str], tokens: np.ndarray) -> list[Sites]:
    """Sequences whose target and anchor lie on the frame of the tokens, with enough background and
    other words to compare.

    elements: id, kind (anchor, target, word, ...), start, end (bp), phase, as in the planted truth.
    tokens: (N,) of each sequence, without `<cls>`.
    """
    number = {name: row for row, name in enumerate(ids)}
    mine = elements[elements.id.isin(number)]
    found = []
    for name, rows in mine.groupby("id", sort=False):
        row = number[str(name)]
        target, anchor = (rows[(rows.kind == k) & (rows.phase == 0)] for k in ("target", "anchor"))
        if len(target) != 1 or len(anchor) != 1:
            continue
        middle = int(target.start.iloc[0]) // 6 + 1
        span = np.arange(tokens[row])
        covered = np.zeros(tokens[row], bool)
        inside = np.zeros(tokens[row], bool)
        for kind, start, end in zip(rows.kind, rows.start, rows.end, strict=True):
            covered[start // 6 : -(-end // 6)] = True
            if kind == "word":
                inside[-(-start // 6) : end // 6] = True
        first = int(anchor.start.iloc[0]) // 6
        own = np.arange(first, first + 3)
        distance = np.abs(span - middle)
        background = _nearest(span[~covered], distance, distance[own])
        word = _nearest(span[inside], distance, distance[own])
        if len(background) == len(word) == 3:
            found.append(Sites(row, middle, own, background, word))
    return found


def _nearest(free: np.ndarray, distance: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Of the tokens ``free`` one for each wanted distance, the nearest, each once."""
    taken = []
    for one in wanted:
        if not len(free):
            break
        at = int(np.argmin(np.abs(distance[free] - one)))
        taken.append(free[at])
        free = np.delete(free, at)
    return np.array(taken, np.int64)


class Probe(NamedTuple):
    """How far the stream at the masked target moves; a row per sequence."""

    change: np.ndarray
    """(n, 3) mean L2 norm of the change by what was substituted, in the order of `KINDS`"""
    distance: np.ndarray
    """(n, 3) mean distance in tokens of what was substituted"""

    def ratio(self, weights: np.ndarray, against: str) -> np.ndarray:
        """(R,) Σ change by the anchor / Σ change by ``against``, over sequences taken ``weights``
        (R, n) times; at most a million, and 1 where neither moves anything."""
        anchor, other = (weights @ self.change)[:, [0, KINDS.index(against)]].T
        below = np.maximum(other, anchor * 1e-6)
        return np.divide(anchor, below, out=np.ones(len(below)), where=below > 0)


def probe_rule(
    model: Any, form: Form, sequences: Sequence[str], sites: Sequence[Sites], seed: int
) -> Probe:
    """Mask each target, substitute one base (drawn, and what for) in each token of anchor,
    background and word in turn, and read the stream after the last block at the mask."""
    rng = np.random.default_rng(seed)
    tables = []
    for site in sites:
        text = sequences[site.sequence]
        changed = [text]
        for token in np.concatenate([site.anchor, site.background, site.word]).tolist():
            at = 6 * token + int(rng.integers(6))
            others = [letter for letter in LETTERS if letter != text[at]]
            changed.append(text[:at] + others[int(rng.integers(3))] + text[at + 1 :])
        tables += [_masked(tokenize(one, form), site.target + 1) for one in changed]
    per = 1 + 3 * len(KINDS)
    at_mask: list[Any] = [None] * len(tables)
    for rows, stream in streams(model, model.n_layers, _joined(tables)):
        for row, values in zip(rows.tolist(), stream, strict=True):
            at_mask[row] = values[sites[row // per].target + 1].float().cpu().numpy()
    found = np.stack(at_mask).reshape(len(sites), per, -1)
    change = np.linalg.norm(found[:, 1:] - found[:, :1], axis=2).reshape(-1, len(KINDS), 3).mean(2)
    distance = [
        [
            np.abs(tokens - site.target).mean()
            for tokens in (site.anchor, site.background, site.word)
        ]
        for site in sites
    ]
    return Probe(change, np.array(distance))


class Accuracy(NamedTuple):
    """How often masked tokens are predicted right."""

    right: np.ndarray
    """(n,) bool"""

    @property
    def share(self) -> float:
        """Of right ones; NaN of none."""
        return float(self.right.mean()) if len(self.right) else float("nan")

    def error(self, chance: float) -> float:
        """Standard error of the share if it were ``chance``."""
        return float(np.sqrt(chance * (1 - chance) / max(1, len(self.right))))


@torch.inference_mode()
def masked_accuracy(
    model: Any, form: Form, sequences: Sequence[str], places: Sequence[tuple[int, int]]
) -> Accuracy:
    """Mask one token of a sequence at a time and compare the likeliest token of the whole
    vocabulary with the one that was there.

    places: (row of ``sequences``, token without `<cls>`).
    """
    plain = [tokenize(sequences[row], form) for row, _ in places]
    truth = np.array([table.ids[at + 1] for table, (_, at) in zip(plain, places, strict=True)])
    tables = [_masked(table, at + 1) for table, (_, at) in zip(plain, places, strict=True)]
    predicted = np.zeros(len(places), np.int64)
    for rows, stream in streams(model, model.n_layers, _joined(tables)):
        at = torch.tensor([places[row][1] + 1 for row in rows.tolist()], device=stream.device)
        logits = model.logits(stream[torch.arange(len(rows), device=stream.device), at])
        predicted[rows] = logits.argmax(-1).cpu().numpy()
    return Accuracy(predicted == truth)


def target_places(
    elements: pd.DataFrame, ids: Sequence[str], sequences: Sequence[str], middles: Sequence[str]
) -> list[tuple[int, int]]:
    """(row, token) of the targets that lie on the frame and whose middle is one of ``middles``, the
    ones the rule knows (a mutated one has no right answer)."""
    number = {name: row for row, name in enumerate(ids)}
    rows = elements[(elements.kind == "target") & (elements.phase == 0) & elements.id.isin(number)]
    found = [(number[name], int(start) // 6 + 1) for name, start in zip(rows.id, rows.start)]
    known = set(middles)
    return [(row, at) for row, at in found if sequences[row][6 * at : 6 * at + 6] in known]


def word_places(elements: pd.DataFrame, ids: Sequence[str], seed: int) -> list[tuple[int, int]]:
    """(row, token) of the middle of one unmutated word of each sequence, on the frame."""
    number = {name: row for row, name in enumerate(ids)}
    mine = elements.kind.eq("word") & elements.phase.eq(0) & elements.mutations.eq(0)
    rows = elements[mine & elements.id.isin(number)]
    rows = rows.sample(frac=1, random_state=seed).drop_duplicates("id").sort_index()
    return [(number[name], int(start) // 6 + 1) for name, start in zip(rows.id, rows.start)]


@dataclass(frozen=True)
class Rule:
    """The planted long-range rule; all None where none is planted."""

    untestable: str | None = None
    probes: int | None = None
    """sequences whose anchor was substituted"""
    ratio: float | None = None
    """change at the masked target by a base of the anchor, over that of a background base"""
    ratio_low: float | None = None
    ratio_high: float | None = None
    over_word: float | None = None
    """the same over a base of another word"""
    over_word_low: float | None = None
    over_word_high: float | None = None
    random_ratio: float | None = None
    """in the randomly initialized model"""
    random_low: float | None = None
    random_high: float | None = None
    anchor_distance: float | None = None
    """tokens"""
    background_distance: float | None = None
    followed: bool | None = None
    """both ratios' intervals lie above 1, and the first above the random model's"""
    targets: int | None = None
    accuracy: float | None = None
    """of the masked token that the rule fixes"""
    chance: float | None = None
    """of always saying the commonest middle; one in the number of kinds, at least"""
    error: float | None = None
    """standard error of an accuracy at chance"""
    above_chance: bool | None = None
    """accuracy above chance + 3 standard errors: the model knows the rule"""
    word_accuracy: float | None = None
    """of the masked middles of words: local grammar"""


def planted_rule(
    truth: Truth | None,
    model: NucleotideTransformer,
    random: NucleotideTransformer | None,
    frame: pd.DataFrame,
    *,
    most: int,
    draws: int,
    seed: int,
) -> tuple[Rule, pd.DataFrame]:
    """The long-range probe and the masked accuracy on held-out sequences, and a row per probe.

    frame: the run's sequences. most: probes, at most. draws, seed: of the bootstrap.
    """
    if truth is None or "rule" not in truth.world:
        why = "no long-range rule is planted: the data set has no truth"
        return Rule(untestable=why), pd.DataFrame(columns=["id", *KINDS])
    held = frame[frame.split != "train"]
    ids, texts, form = held.id.tolist(), held.sequence.tolist(), model.config.form
    sites = rule_sites(truth.elements, ids, held.n_tokens.to_numpy() - 1)
    if len(sites) < LEAST:
        why = f"{len(sites)} held-out sequences have the rule on the frame, {LEAST} are needed"
        return Rule(untestable=why), pd.DataFrame(columns=["id", *KINDS])
    middles = [text[6:12] for text in truth.world["grammar"]["targets"]]
    places = _some(target_places(truth.elements, ids, texts, middles), TARGETS)
    accuracy = masked_accuracy(model, form, texts, places)
    words = masked_accuracy(
        model, form, texts, _some(word_places(truth.elements, ids, seed), WORDS)
    )
    held_middles = [texts[row][6 * at : 6 * at + 6] for row, at in places]
    commonest = max((held_middles.count(one) for one in middles), default=0)
    chance = max(1 / int(truth.world["rule"]["kinds"]), commonest / max(1, len(places)))
    error = accuracy.error(chance)
    sites = _some(sites, most)
    probes = {
        name: probe_rule(one, form, texts, sites, seed)
        for name, one in (("trained", model), ("random_init", random))
        if one is not None
    }
    weights = bootstrap_weights(len(sites), draws, seed)
    table = pd.concat(
        [
            pd.DataFrame({"model": name, "id": [ids[site.sequence] for site in sites]}).join(
                pd.DataFrame(probe.change, columns=list(KINDS))
            )
            for name, probe in probes.items()
        ],
        ignore_index=True,
    )
    trained = probes["trained"]
    over, word = trained.ratio(weights, "background"), trained.ratio(weights, "word")
    (low, high), (word_low, word_high) = interval(over[1:]), interval(word[1:])
    control: dict[str, Any] = {}
    if "random_init" in probes:
        ratios = probes["random_init"].ratio(weights, "background")
        control["random_ratio"] = float(ratios[0])
        control["random_low"], control["random_high"] = interval(ratios[1:])
    return Rule(
        probes=len(sites),
        ratio=float(over[0]),
        ratio_low=low,
        ratio_high=high,
        over_word=float(word[0]),
        over_word_low=word_low,
        over_word_high=word_high,
        anchor_distance=float(trained.distance[:, 0].mean()),
        background_distance=float(trained.distance[:, 1].mean()),
        followed=min(low, word_low) > 1 and low > control.get("random_high", 1.0),
        targets=len(places),
        accuracy=accuracy.share,
        chance=chance,
        error=error,
        above_chance=accuracy.share > chance + 3 * error,
        word_accuracy=words.share,
        **control,
    ), table


def _some(items: list[Item], most: int) -> list[Item]:
    """At most so many, evenly spaced."""
    rows = np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)
    return [items[row] for row in rows]


def _masked(table: TokenTable, at: int) -> TokenTable:
    ids = table.ids.copy()
    ids[at] = MASK
    return table._replace(ids=ids)


def _joined(tables: Sequence[TokenTable]) -> TokenTables:
    """Tables one after the other."""
    offsets = np.concatenate([[0], np.cumsum([len(table.ids) for table in tables])])
    ids, start, width = (np.concatenate(column) for column in zip(*tables, strict=True))
    return TokenTables(ids, start, width, offsets.astype(np.int64))
