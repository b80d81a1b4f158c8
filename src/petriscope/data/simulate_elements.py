"""Regulatory elements of the simulated genome: where they lie, what opens them, which motifs they carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from petriscope.annotation.motifs import Motif
from petriscope.data.simulate_genome import N, SimulatedGenome, random_bases, reverse_complement

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
CLOSED = 0.05  # accessibility of an element where its programme is off, relative to where it is on


@dataclass(frozen=True)
class Programme:
    """A rule that opens elements: the conditions it is on in, its share of elements, and the motif sets an element may carry."""

    name: str
    lineages: tuple[str, ...]
    contexts: tuple[str, ...]
    share: float
    recipes: tuple[tuple[str, ...], ...]

    def openness(self) -> np.ndarray:
        """(6,) relative accessibility in `CONDITIONS` order: 1 where the programme is on, `CLOSED` elsewhere."""
        on = [lineage in self.lineages and context in self.contexts for lineage, context in CONDITIONS]
        return np.where(on, 1.0, CLOSED)


def programmes() -> tuple[Programme, ...]:
    """Shared, three lineages, two contexts, six lineage-by-context programmes; shares sum to 1."""
    rules = [Programme("shared", LINEAGES, CONTEXTS, 0.18, SHARED_FACTORS)]
    rules += [Programme(x, (x,), CONTEXTS, 0.12, (LINEAGE_FACTORS[x],)) for x in LINEAGES]
    rules += [Programme(x, LINEAGES, (x,), 0.14, CONTEXT_FACTORS[x]) for x in CONTEXTS]
    for lineage, context in CONDITIONS:
        recipes = tuple(LINEAGE_FACTORS[lineage] + pair for pair in CONTEXT_FACTORS[context])
        rules.append(Programme(f"{lineage}_{context}", (lineage,), (context,), 0.03, recipes))
    return tuple(rules)


def _place(rng: np.random.Generator, genome: SimulatedGenome, rules: tuple[Programme, ...]) -> pd.DataFrame:
    """Walk each chromosome: gaps, promoters of genes, then clusters or single elements of one programme each."""
    rows: list[dict[str, object]] = []
    domain = 0
    by_name = {rule.name: rule for rule in rules}
    shares = np.array([rule.share for rule in rules])

    def add(chrom: str, centre: int, rule: Programme, recipe: int, promoter: bool) -> None:
        width = int(rng.integers(200, 601))
        row = {"chrom": chrom, "start": centre - width // 2, "end": centre - width // 2 + width, "domain": domain}
        rows.append(row | {"programme": rule.name, "recipe": recipe, "promoter": promoter, "home": home.name})

    for chrom, codes in genome.sequence.items():
        at = 16_000
        while True:
            at += 1200 + int(rng.exponential(3000))
            home = rules[int(rng.choice(len(rules), p=shares))]
            domain += 1
            if rng.random() < 0.55:
                if at > len(codes) - 4000:
                    break
                add(chrom, at, by_name["shared"], 1, True)
                at += 1500 + int(rng.exponential(1500))
            n = int(rng.integers(3, 9)) if rng.random() < 0.7 else 1
            recipe = int(rng.integers(len(home.recipes)))
            for _ in range(n):
                if at > len(codes) - 4000:
                    break
                stranger = rng.random() < 0.15
                rule = rules[int(rng.choice(len(rules), p=shares))] if stranger else home
                add(chrom, at, rule, int(rng.integers(len(rule.recipes))) if stranger else recipe, False)
                at += 800 + int(rng.exponential(700))
            if at > len(codes) - 8000:
                break
    return pd.DataFrame(rows)


def _clear(frame: pd.DataFrame, genome: SimulatedGenome) -> pd.DataFrame:
    """Elements that touch neither the blacklist nor a gap."""
    keep = np.ones(len(frame), dtype=bool)
    for chrom, intervals in genome.blacklist.items():
        here = (frame["chrom"] == chrom).to_numpy()
        for start, end in intervals:
            keep &= ~(here & (frame["start"] < end + 500).to_numpy() & (frame["end"] > start - 500).to_numpy())
    return frame[keep].reset_index(drop=True)


def sample_site(rng: np.random.Generator, motif: Motif, strictness: float = 0.7) -> np.ndarray:
    """One site (L,) drawn from the matrix, redrawn until its log-odds score is at least ``strictness`` of the best."""
    score = motif.log_odds()
    best = score.max(axis=1).sum()
    cumulative = np.cumsum(motif.matrix / motif.matrix.sum(axis=1, keepdims=True), axis=1)
    for _ in range(200):
        site = (rng.random((len(score), 1)) > cumulative[:, :3]).sum(axis=1)
        if score[np.arange(len(score)), site].sum() >= strictness * best:
            return site.astype(np.uint8)
    return motif.matrix.argmax(axis=1).astype(np.uint8)


def _write_sequence(
    rng: np.random.Generator,
    codes: np.ndarray,
    start: int,
    end: int,
    gc: float,
    factors: list[str],
    motifs: Mapping[str, Motif],
) -> list[tuple[str, int, str]]:
    """Fresh GC-richer DNA over ``start``–``end`` with one site per name in ``factors``; returns (factor, position, strand)."""
    codes[start:end] = random_bases(rng, np.full(end - start, gc), 0.45)
    sites = [sample_site(rng, motifs[name]) for name in factors]
    slack = (end - start) - sum(len(site) for site in sites) - 2 * len(sites)
    while slack < 0:
        slack += len(sites.pop()) + 2
    gaps = np.sort(rng.integers(0, slack + 1, len(sites)))
    placed, used = [], 0
    for name, site, gap in zip(factors, sites, gaps):
        at = start + int(gap) + used
        forward = rng.random() < 0.5
        codes[at : at + len(site)] = site if forward else reverse_complement(site)
        placed.append((name, at, "+" if forward else "-"))
        used += len(site) + 2
    return placed


def plant_elements(rng: np.random.Generator, genome: SimulatedGenome, motifs: Mapping[str, Motif]) -> pd.DataFrame:
    """Place elements and write their DNA into ``genome.sequence``, in place.

    Parameters: ``motifs`` by factor name, holding every factor the programmes name.
    Returns one row per element, sorted: element (int), chrom, start, end, domain, home (its domain's programme), programme,
    promoter, motifs (comma-separated factors, a repeat per site), n_sites, strength (accessibility where open, relative to the
    mean element; rises 22 % per site). Raises KeyError where a motif is missing.
    """
    rules = programmes()
    by_name = {rule.name: rule for rule in rules}
    frame = _clear(_place(rng, genome, rules), genome)
    planted, counts = [], []
    for row in frame.itertuples():
        codes = genome.sequence[row.chrom]
        recipe = by_name[row.programme].recipes[row.recipe]
        wanted = max(len(recipe), 2 + int(rng.binomial(5, 0.45)))
        if recipe == ("CTCF",):
            wanted = 1 + int(rng.random() < 0.4)
        extra = [recipe[int(i)] for i in rng.integers(0, len(recipe), wanted - len(recipe))]
        factors = [str(x) for x in rng.permutation(list(recipe) + extra)]
        local = float(genome.gc[row.chrom][row.start // 1024])
        gc = min(0.68, local + 0.2) if row.promoter else min(0.6, local + 0.08)
        sites = _write_sequence(rng, codes, row.start, row.end, gc, factors, motifs)
        planted.append(",".join(name for name, _, _ in sites))
        counts.append(len(sites))
    assert not any((genome.sequence[r.chrom][r.start : r.end] == N).any() for r in frame.itertuples())
    n_sites = np.array(counts)
    expected = np.where(planted_is_ctcf := np.array([set(p.split(",")) == {"CTCF"} for p in planted]), 1.4, 4.3)
    step = np.where(planted_is_ctcf, 0.4, 0.2)
    strength = np.exp(step * (n_sites - expected) + rng.normal(0.0, 0.25, len(frame)))
    out = frame.drop(columns="recipe").assign(motifs=planted, n_sites=n_sites, strength=strength)
    out.insert(0, "element", np.arange(len(out)))
    return out


def condition_accessibility(elements: pd.DataFrame) -> np.ndarray:
    """(elements, 6) expected accessibility per condition (`CONDITIONS` order): strength times the programme's openness."""
    rows = {rule.name: rule.openness() for rule in programmes()}
    return elements["strength"].to_numpy()[:, None] * np.stack([rows[name] for name in elements["programme"]])


def truth_table(elements: pd.DataFrame, bin_bp: int = 128) -> pd.DataFrame:
    """One row per ``bin_bp`` bin (grid from the chromosome's start) that an element covers by a quarter or more.

    Columns: chrom, start, end, element, element_start, element_end, domain, programme, promoter, motifs, lineages, contexts (comma-
    separated, where open), effect (accessibility where open), overlap (bp), and one column per condition, ``open_blood_in_vitro`` ….
    """
    rules = {rule.name: rule for rule in programmes()}
    access = condition_accessibility(elements)
    rows = []
    for index, row in enumerate(elements.itertuples()):
        for start in range(row.start // bin_bp * bin_bp, row.end, bin_bp):
            overlap = min(row.end, start + bin_bp) - max(row.start, start)
            if overlap * 4 < bin_bp:
                continue
            rule = rules[row.programme]
            rows.append(
                {
                    "chrom": row.chrom,
                    "start": start,
                    "end": start + bin_bp,
                    "element": row.element,
                    "element_start": row.start,
                    "element_end": row.end,
                    "domain": row.domain,
                    "programme": row.programme,
                    "promoter": row.promoter,
                    "motifs": row.motifs,
                    "lineages": ",".join(rule.lineages),
                    "contexts": ",".join(rule.contexts),
                    "effect": row.strength,
                    "overlap": overlap,
                }
                | {f"open_{a}_{b}": access[index, i] for i, (a, b) in enumerate(CONDITIONS)}
            )
    return pd.DataFrame(rows)
