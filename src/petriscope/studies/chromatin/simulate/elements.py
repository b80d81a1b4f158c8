"""Regulatory elements of the simulated genome: where they lie, what opens them, which motifs they
carry."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.enrich.motifs import Motif
from petriscope.studies.chromatin.simulate.genome import (
    SimulatedGenome,
    random_bases,
    reverse_complement,
)

LINEAGES = ("blood", "liver", "lymph")
CONTEXTS = ("in_vitro", "in_vivo")
CONDITIONS = tuple((lineage, context) for lineage in LINEAGES for context in CONTEXTS)
LINEAGE_FACTORS: dict[str, tuple[str, ...]] = {
    "blood": ("SPI1", "Runx1"),
    "liver": ("HNF4A", "FOXA2"),
    "lymph": ("EBF1", "PAX5"),
}
CONTEXT_FACTORS: dict[str, tuple[tuple[str, ...], ...]] = {
    "in_vitro": (("FOS::JUN", "TEAD4"), ("FOS::JUN", "TEAD4"), ("E2F1", "NRF1")),
    "in_vivo": (("NR3C1", "MEF2C"), ("NR3C1", "HLF"), ("MEF2C", "HLF")),
}
SHARED_FACTORS = (("CTCF",), ("SP1", "NFYA"))
WIDTHS = {"in_vitro": (500, 800), "in_vivo": (150, 220)}
"""bp of the elements that open in one context only; all others: `WIDTH`. Equal in fragments, unlike
in shape: a model that reads accessibility can tell them apart, so that there are features whose
dependence on context is known."""
WIDTH = (200, 600)
CLOSED = 0.05  # accessibility of an element where its programme is off, relative to where it is on


@dataclass(frozen=True)
class Programme:
    """A rule that opens elements: the conditions it is on in, its share of domains, the motif sets
    one may carry."""

    name: str
    lineages: tuple[str, ...]
    contexts: tuple[str, ...]
    cards: int
    recipes: tuple[tuple[str, ...], ...]

    def widths(self) -> tuple[int, int]:
        """Narrowest and widest element, bp."""
        return WIDTHS[self.contexts[0]] if len(self.contexts) == 1 else WIDTH

    def openness(self) -> np.ndarray:
        """(6,) relative accessibility in `CONDITIONS` order: 1 where the programme is on, `CLOSED`
        elsewhere."""
        on = [
            lineage in self.lineages and context in self.contexts for lineage, context in CONDITIONS
        ]
        return np.where(on, 1.0, CLOSED)


def programmes() -> tuple[Programme, ...]:
    """Shared, three lineages, two contexts, six lineage-by-context programmes, with their cards in
    a deck of 51."""
    rules = [Programme("shared", LINEAGES, CONTEXTS, 6, SHARED_FACTORS)]
    rules += [Programme(x, (x,), CONTEXTS, 5, (LINEAGE_FACTORS[x],)) for x in LINEAGES]
    rules += [Programme(x, LINEAGES, (x,), 6, CONTEXT_FACTORS[x]) for x in CONTEXTS]
    for lineage, context in CONDITIONS:
        recipes = tuple(LINEAGE_FACTORS[lineage] + pair for pair in CONTEXT_FACTORS[context])
        rules.append(Programme(f"{lineage}_{context}", (lineage,), (context,), 3, recipes))
    return tuple(rules)


class Element(NamedTuple):
    """One regulatory element."""

    number: int
    chrom: str
    start: int
    end: int
    domain: int
    """Elements of one domain share their neighborhood's fate in a donor."""
    home: str
    """Programme of the domain; strangers among its elements follow another."""
    programme: str
    promoter: bool
    motifs: tuple[str, ...]
    """Factors whose sites were written into its DNA, one entry per site."""
    strength: float
    """Accessibility where open, relative to the mean element; rises 22 % per site."""


class _Slot(NamedTuple):
    """Where an element will lie, before its DNA is written."""

    chrom: str
    start: int
    end: int
    domain: int
    home: str
    programme: Programme
    recipe: tuple[str, ...]
    promoter: bool


def _place(
    rng: np.random.Generator, genome: SimulatedGenome, rules: tuple[Programme, ...]
) -> Iterator[_Slot]:
    """Walk each chromosome: gaps, promoters of genes, then clusters or single elements of one
    programme each.

    Programmes come from a deck shuffled anew per chromosome: every chromosome holds them all in
    nearly equal measure.
    """
    shared = rules[0]
    cards = np.repeat(np.arange(len(rules)), [rule.cards for rule in rules])
    domain = 0

    def span(at: int, rule: Programme) -> tuple[int, int]:
        low, high = rule.widths()
        width = int(rng.integers(low, high + 1))
        return at - width // 2, at - width // 2 + width

    for chrom, codes in genome.sequence.items():
        deck: list[int] = []
        at = 16_000
        while at < len(codes) - 8000:
            at += 1200 + int(rng.exponential(3000))
            deck = deck or rng.permutation(cards).tolist()
            home = rules[deck.pop()]
            domain += 1
            if rng.random() < 0.55:
                if at > len(codes) - 4000:
                    break
                yield _Slot(
                    chrom, *span(at, shared), domain, home.name, shared, SHARED_FACTORS[1], True
                )
                at += 1500 + int(rng.exponential(1500))
            n = int(rng.integers(3, 9)) if rng.random() < 0.7 else 1
            recipe = home.recipes[int(rng.integers(len(home.recipes)))]
            for _ in range(n):
                if at > len(codes) - 4000:
                    break
                if rng.random() < 0.15:
                    stranger = rules[int(rng.choice(cards))]
                    foreign = stranger.recipes[int(rng.integers(len(stranger.recipes)))]
                    yield _Slot(
                        chrom, *span(at, stranger), domain, home.name, stranger, foreign, False
                    )
                else:
                    yield _Slot(chrom, *span(at, home), domain, home.name, home, recipe, False)
                at += 800 + int(rng.exponential(700))


def _is_clear(slot: _Slot, genome: SimulatedGenome) -> bool:
    """Whether the element lies 500 bp or more from blacklist and gaps."""
    return not any(
        slot.start < end + 500 and slot.end > start - 500
        for start, end in genome.blacklist[slot.chrom]
    )


def sample_site(rng: np.random.Generator, motif: Motif, strictness: float = 0.7) -> np.ndarray:
    """One site (L,) drawn from the matrix, redrawn until its log-odds score is at least
    ``strictness`` of the best."""
    score = motif.log_odds()
    best = score.max(axis=1).sum()
    cumulative = np.cumsum(motif.matrix / motif.matrix.sum(axis=1, keepdims=True), axis=1)
    for _ in range(200):
        site = (rng.random((len(score), 1)) > cumulative[:, :3]).sum(axis=1)
        if score[np.arange(len(score)), site].sum() >= strictness * best:
            return site.astype(np.uint8)
    return motif.matrix.argmax(axis=1).astype(np.uint8)


def _compose(
    rng: np.random.Generator, width: int, gc: float, factors: list[str], motifs: Mapping[str, Motif]
) -> tuple[np.ndarray, list[str]]:
    """DNA of one element (width,) at ``gc``, with one site per factor at random places, and the
    factors that fitted."""
    codes = random_bases(rng, np.full(width, gc), 0.45)
    sites = [sample_site(rng, motifs[name]) for name in factors]
    slack = width - sum(len(site) + 2 for site in sites)
    while slack < 0:
        slack += len(sites.pop()) + 2
    used = 0
    for site, gap in zip(sites, np.sort(rng.integers(0, slack + 1, len(sites)))):
        at = int(gap) + used
        codes[at : at + len(site)] = site if rng.random() < 0.5 else reverse_complement(site)
        used += len(site) + 2
    return codes, factors[: len(sites)]


def plant_elements(
    rng: np.random.Generator, genome: SimulatedGenome, motifs: Mapping[str, Motif]
) -> list[Element]:
    """Place elements and write their DNA into ``genome.sequence``, in place; returns them by
    position.

    ``motifs`` by factor name holds every factor the programmes name; raises KeyError where one is
    missing.
    """
    slots = [slot for slot in _place(rng, genome, programmes()) if _is_clear(slot, genome)]
    elements = []
    for number, slot in enumerate(slots):
        if slot.recipe == ("CTCF",):
            wanted = 1 + int(rng.random() < 0.4)
            usual, step = 1.4, 0.4
        else:
            wanted = max(len(slot.recipe), 2 + int(rng.binomial(5, 0.45)))
            usual, step = 4.3, 0.2
        extra = [
            slot.recipe[int(i)]
            for i in rng.integers(0, len(slot.recipe), wanted - len(slot.recipe))
        ]
        factors = [str(x) for x in rng.permutation([*slot.recipe, *extra])]
        local = float(genome.gc[slot.chrom][slot.start // 1024])
        gc = min(0.68, local + 0.2) if slot.promoter else min(0.6, local + 0.08)
        codes, placed = _compose(rng, slot.end - slot.start, gc, factors, motifs)
        genome.sequence[slot.chrom][slot.start : slot.end] = codes
        # rounded, because the last bit of an exponential depends on the processor, and the data are
        # pinned byte for byte
        strength = round(math.exp(step * (len(placed) - usual) + rng.normal(0.0, 0.2)), 6)
        where = (slot.chrom, slot.start, slot.end, slot.domain, slot.home)
        elements.append(
            Element(number, *where, slot.programme.name, slot.promoter, tuple(placed), strength)
        )
    return elements


def condition_accessibility(elements: Sequence[Element]) -> np.ndarray:
    """(elements, 6) expected accessibility in `CONDITIONS` order: strength times the programme's
    openness."""
    openness = {rule.name: rule.openness() for rule in programmes()}
    return np.stack([element.strength * openness[element.programme] for element in elements])


def truth_table(elements: Sequence[Element], bin_bp: int = 128) -> pd.DataFrame:
    """One row per ``bin_bp`` bin (grid from the chromosome's start) that an element covers by a
    quarter or more.

    Columns: chrom, start, end, element, element_start, element_end, domain, programme, promoter,
    motifs, lineages, contexts (comma-separated, where open), effect (accessibility where open),
    overlap (bp), and one column per condition, ``open_blood_in_vitro`` ….
    """
    rules = {rule.name: rule for rule in programmes()}
    rows: list[dict[str, object]] = []
    for element, access in zip(elements, condition_accessibility(elements)):
        rule = rules[element.programme]
        common = {
            "element": element.number,
            "element_start": element.start,
            "element_end": element.end,
            "domain": element.domain,
            "programme": element.programme,
            "promoter": element.promoter,
            "motifs": ",".join(element.motifs),
            "lineages": ",".join(rule.lineages),
            "contexts": ",".join(rule.contexts),
            "effect": element.strength,
        } | {f"open_{a}_{b}": access[i] for i, (a, b) in enumerate(CONDITIONS)}
        for start in range(element.start // bin_bp * bin_bp, element.end, bin_bp):
            overlap = min(element.end, start + bin_bp) - max(element.start, start)
            if overlap * 4 >= bin_bp:
                place = {
                    "chrom": element.chrom,
                    "start": start,
                    "end": start + bin_bp,
                    "overlap": overlap,
                }
                rows.append(place | common)
    return pd.DataFrame(rows)
