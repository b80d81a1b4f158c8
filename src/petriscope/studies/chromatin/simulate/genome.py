"""A simulated genome is random sequence with isochores, CpG depletion, repeat families and assembly
gaps, and the regulatory elements planted in it: where they lie, what opens them, which motifs they
carry."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from petriscope.enrich.motifs import Motif

N = 4
_RC = np.array([3, 2, 1, 0, 4], dtype=np.uint8)
LETTERS = np.frombuffer(b"ACGTN", dtype=np.uint8)


@dataclass(frozen=True)
class RepeatFamily:
    """One family of interspersed repeats: every copy is a diverged, possibly truncated draw from
    one consensus."""

    name: str
    length: int
    gc: float
    share: float
    """Share of the genome its copies cover."""
    divergence: float
    """Probability that a base of a copy differs from the consensus."""
    truncated: bool
    """Copies keep only a random 3' part, as LINEs do."""


FAMILIES = (
    RepeatFamily("AluLike", 300, 0.58, 0.09, 0.12, False),
    RepeatFamily("L1Like", 4000, 0.37, 0.12, 0.15, True),
    RepeatFamily("MIRLike", 220, 0.45, 0.02, 0.25, True),
    RepeatFamily("LTRLike", 450, 0.47, 0.05, 0.14, False),
)
SIMPLE_SHARE = 0.01


@dataclass(frozen=True)
class SimulatedGenome:
    """Chromosomes by name as uint8 codes (0..3 = ACGT, 4 = N), their local GC, and what was laid on
    them."""

    sequence: dict[str, np.ndarray]
    gc: dict[str, np.ndarray]
    """Per 1024 bp: the isochore's target GC."""
    repeats: dict[str, np.ndarray]
    """(n, 2) int64 start, end of repeat copies."""
    blacklist: dict[str, np.ndarray]
    """(n, 2) int64 start, end: around gaps, and regions that gather artifact signal."""

    @property
    def size(self) -> int:
        """Base pairs in all."""
        return sum(len(codes) for codes in self.sequence.values())


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    """Codes (..., L) read on the other strand."""
    return _RC[codes[..., ::-1]]


def random_bases(rng: np.random.Generator, gc: np.ndarray, cpg_kept: float) -> np.ndarray:
    """Independent bases at per-position GC ``gc`` (L,), after which a CpG survives with probability
    ``cpg_kept``.

    A lost CpG turns into TpG or CpA with equal chance: methylated-cytosine decay on either strand.
    """
    strong = rng.random(len(gc)) < gc
    second = rng.integers(0, 2, len(gc), dtype=np.uint8)
    codes = np.where(strong, 1 + second, 3 * second).astype(np.uint8)
    cpg = np.flatnonzero((codes[:-1] == 1) & (codes[1:] == 2))
    cpg = cpg[rng.random(len(cpg)) >= cpg_kept]
    first = rng.random(len(cpg)) < 0.5
    codes[cpg[first]] = 3
    codes[cpg[~first] + 1] = 0
    return codes


def _isochores(rng: np.random.Generator, n_steps: int) -> np.ndarray:
    """Target GC per 1024 bp: steps of 40–200 kb between .36 and .52, plus slow drift within
    them."""
    levels = np.empty(n_steps)
    at = 0
    while at < n_steps:
        width = int(rng.integers(40, 200))
        levels[at : at + width] = rng.choice(
            [0.37, 0.39, 0.41, 0.44, 0.48, 0.52], p=[0.2, 0.25, 0.22, 0.16, 0.11, 0.06]
        )
        at += width
    drift = np.cumsum(rng.normal(0.0, 0.004, n_steps))
    drift -= np.convolve(np.pad(drift, 50, mode="edge"), np.full(101, 1 / 101), mode="valid")
    return np.clip(levels + drift, 0.34, 0.56)


def _lay_repeats(
    rng: np.random.Generator, codes: np.ndarray, consensus: dict[str, np.ndarray]
) -> np.ndarray:
    """Write repeat copies over ``codes`` in place; return their (n, 2) intervals, sorted."""
    intervals = []
    for family in FAMILIES:
        target, covered = family.share * len(codes), 0
        while covered < target:
            copy = consensus[family.name]
            if family.truncated:
                copy = copy[
                    -int(np.clip(rng.exponential(family.length * 0.3), 60, family.length)) :
                ]
            differs = rng.random(len(copy)) < family.divergence
            copy = np.where(differs, rng.integers(0, 4, len(copy), dtype=np.uint8), copy)
            if rng.random() < 0.5:
                copy = reverse_complement(copy)
            start = int(rng.integers(0, len(codes) - len(copy)))
            codes[start : start + len(copy)] = copy
            intervals.append((start, start + len(copy)))
            covered += len(copy)
    covered = 0
    while covered < SIMPLE_SHARE * len(codes):
        unit = rng.integers(0, 4, int(rng.integers(1, 5)), dtype=np.uint8)
        length = int(rng.integers(20, 120))
        start = int(rng.integers(0, len(codes) - length))
        codes[start : start + length] = np.resize(unit, length)
        covered += length
    return np.array(sorted(intervals), dtype=np.int64).reshape(-1, 2)


def simulate_genome(rng: np.random.Generator, lengths: dict[str, int]) -> SimulatedGenome:
    """Draw chromosomes of the given lengths.

    Isochores of GC .34–.56, CpG at a quarter of expectation, about a quarter of the bases in
    repeats, a telomeric gap of 10,240 N at the start, one inner gap, and two artifact regions per
    chromosome, which the blacklist lists.
    """
    consensus = {f.name: random_bases(rng, np.full(f.length, f.gc), 0.6) for f in FAMILIES}
    sequence, gc, repeats, blacklist = {}, {}, {}, {}
    for name, length in lengths.items():
        steps = _isochores(rng, -(-length // 1024))
        codes = random_bases(rng, np.repeat(steps, 1024)[:length], 0.25)
        repeats[name] = _lay_repeats(rng, codes, consensus)
        codes[:10_240] = N
        gap = int(rng.integers(length // 4, 3 * length // 4)) // 1024 * 1024
        codes[gap : gap + 5120] = N
        black = [(0, 11_264), (gap - 1024, gap + 6144)]
        for _ in range(2):
            start = int(rng.integers(20_000, length - 40_000)) // 128 * 128
            black.append((start, start + int(rng.integers(2000, 9000))))
        sequence[name], gc[name] = codes, steps
        blacklist[name] = merge(np.array(sorted(black), dtype=np.int64))
    return SimulatedGenome(sequence, gc, repeats, blacklist)


def merge(intervals: np.ndarray) -> np.ndarray:
    """Union of sorted (n, 2) half-open intervals."""
    if not len(intervals):
        return intervals
    reach = np.maximum.accumulate(intervals[:, 1])
    new = np.concatenate([[True], intervals[1:, 0] > reach[:-1]])
    last = np.concatenate([np.flatnonzero(new)[1:] - 1, [len(intervals) - 1]])
    return np.stack([intervals[new, 0], reach[last]], axis=1)


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
