"""The demo of study dna is a simulated genome with a grammar of words, a rule between distant
words, a motif that is the label, and the truth of where each lies.

The world is that of section 11 of the study's design. What a model of local grammar can learn are
the words; what only a model of regulatory logic can learn is the rule: which of four middles a
target word has is told by an anchor word 34 to 45 tokens before it. Sequences lie in clusters on
contigs, so that annotation, conservation and counts of k-mers have contiguous DNA; a cluster is a
gene and a group, and some sequences are copies of one in another cluster.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

from petriscope.errors import UserError
from petriscope.files import Output, atomic_folder
from petriscope.genome.overlap import read_bed
from petriscope.names import did_you_mean
from petriscope.studies.dna.data.write import LETTERS, write_bed, write_fasta, write_table

RULES = ("learnt", "rare", "absent")
BASES = np.array([0.29, 0.21, 0.21, 0.29])
"""Shares of A, C, G, T in the background."""
CLASSES = ("bound", "unbound")
DESIGN_TOKENS = 64
WORDS, ANCHORS, WORD = 32, 4, 3
"""Words, kinds of anchor, and tokens of a word, an anchor or a target."""
MOTIF = 2
"""Tokens of the motif."""
PER_SEQUENCE = {"learnt": 7, "rare": 9, "absent": 7}
"""Words in a sequence of 64 tokens."""
RARE = 0.1
"""Share of sequences with an anchor and its target where the rule is rare."""
DISTANCE = (34, 45)
"""Tokens from the first of an anchor to the first of its target, in a sequence of 64."""
LENGTHS = ((34, 43), (52, 64))
"""Tokens of positives and of negatives where length is confounded, of 64."""
MUTATION = 0.02
OFF_PHASE = 0.1
"""Share of sequences whose elements begin 1 to 5 bp off the frame of the tokens."""
COPIES, COPY_MUTATION = 0.02, 0.01
"""Share of sequences that are copies of another, and what is mutated since."""
CLUSTER = (2, 4)
"""Sequences of a cluster."""
SPACER = 1008
"""bp between clusters: more than the 1,000 that make two loci one, and a multiple of 12, so that
contigs read from their middle keep the frame of the tokens."""
CONTIGS = 6
REVERSE = 0.1
"""Share of clusters on the other strand."""
RELATIVES, KEPT, DRIFTED = 20, 0.05, 0.3
"""Relatives compared for the conservation track; how often a base of an element and of the
background differs in one."""
SET_GENES, SET_MOTIF = 60, 0.95
"""Genes of the one true set, and how many of their sequences carry the motif."""
SETS = 40
DEMO = Output(
    "a simulated set of sequences",
    (
        *("dataset.yaml", "sequences.tsv.gz", "genome.fa", "genome.fa.fai", "genes.tsv"),
        *("terms.gmt", "conservation.bw", "tracks/*.bed", "truth/truth.json"),
        "truth/elements.tsv.gz",
    ),
    lambda path: "\nsimulation:\n" in path.read_text(encoding="utf-8", errors="replace"),
)


@dataclass(frozen=True)
class DemoConfig:
    """What to simulate. The defaults are the demo that ships; tests use a smaller one."""

    seed: int = 20260
    rule: str = "learnt"
    """learnt: the rule holds in every sequence; rare: in a tenth of them, so that the demo's small
    model does not learn it (3 million tokens: accuracy .262, chance .283; where it held in half of
    them .353, chance .25); absent: anchors and targets are there, paired at random."""
    motif: bool = True
    """Whether the motif is the label; else labels are random and the motif means nothing."""
    confound: bool = False
    """Whether positives are shorter than negatives."""
    sequences: int = 6000
    tokens: int = DESIGN_TOKENS
    """Six-mers of a sequence."""

    def check(self) -> None:
        """Raise `UserError` naming the field that cannot be simulated."""
        for field, low in (("seed", 0), ("sequences", 60), ("tokens", 24)):
            if getattr(self, field) < low:
                remedy = f"Give a number of at least {low}."
                raise UserError(f"is {getattr(self, field)}", field=field, remedy=remedy)
        if self.rule not in RULES:
            remedy = did_you_mean(self.rule, RULES, kind="Rules")
            raise UserError(f"is {self.rule!r}", field="rule", remedy=remedy)

    def scaled(self, span: tuple[int, int]) -> tuple[int, int]:
        """A span of tokens, given for sequences of 64, in sequences of this length."""
        low, high = (round(x * self.tokens / DESIGN_TOKENS) for x in span)
        return low, high

    def distance(self) -> tuple[int, int]:
        """Tokens from an anchor to its target, least and most; they fit the shortest sequence."""
        if not self.confound:
            return self.scaled(DISTANCE)
        shortest = self.scaled(LENGTHS[0])[0] / self.tokens
        low, high = (round(x * shortest) for x in self.scaled(DISTANCE))
        return low, high


class Grammar(NamedTuple):
    """The vocabulary, as base codes (0 to 3 = ACGT)."""

    words: np.ndarray
    """(32, 18)"""
    anchors: np.ndarray
    """(4, 18)"""
    targets: np.ndarray
    """(4, 18): the same flanks, and the middle that belongs to each anchor."""
    motif: np.ndarray
    """(12,)"""


class Sequences(NamedTuple):
    """The planted sequences and what was planted in them."""

    codes: np.ndarray
    """(N, 6·tokens) uint8, valid up to ``length``."""
    length: np.ndarray
    """(N,) bp"""
    positive: np.ndarray
    """(N,) bool"""
    cluster: np.ndarray
    """(N,)"""
    source: np.ndarray
    """(N,) itself, or the sequence that it is a copy of."""
    elements: pd.DataFrame
    """sequence (row), kind, name, start, end (bp in the sequence, as it is read), phase (bp off the
    frame), mutations, obeys (targets: whether the middle is its anchor's; else null)"""


def simulate_demo(
    folder: str | Path,
    *,
    seed: int = DemoConfig.seed,
    rule: str = DemoConfig.rule,
    motif: bool = DemoConfig.motif,
    confound: bool = DemoConfig.confound,
    sequences: int = DemoConfig.sequences,
    tokens: int = DemoConfig.tokens,
) -> None:
    """Write the planted world into ``folder`` (replaced as a whole, or left as it was on failure).

    Same arguments, same bytes. For what they mean see `DemoConfig`. Raises `UserError` for one that
    is out of range.
    """
    config = DemoConfig(seed, rule, motif, confound, sequences, tokens)
    config.check()
    with atomic_folder(folder, DEMO) as scratch:
        _write_all(scratch, config)


def _stream(config: DemoConfig, part: int) -> np.random.Generator:
    """An independent random stream per part, so that a change in one leaves the others' draws
    alone."""
    return np.random.default_rng([config.seed, part])


def draw_grammar(rng: np.random.Generator) -> Grammar:
    """A vocabulary no two of whose tokens are the same."""
    every = np.stack(np.unravel_index(np.arange(4**6), (4,) * 6), axis=1).astype(np.uint8)
    share = BASES[every].prod(axis=1)
    n = (WORDS + ANCHORS) * WORD + 2 + ANCHORS + MOTIF
    tokens = every[rng.choice(4**6, n, replace=False, p=share / share.sum())]
    parts = np.split(tokens, np.cumsum([WORDS * WORD, ANCHORS * WORD, 2, ANCHORS]))
    words, anchors, flanks, middles, motif = parts
    targets = np.stack([np.concatenate([flanks[0], middle, flanks[1]]) for middle in middles])
    return Grammar(
        words.reshape(WORDS, -1), anchors.reshape(ANCHORS, -1), targets, motif.reshape(-1)
    )


def _clusters(rng: np.random.Generator, sequences: int) -> np.ndarray:
    """(N,) the cluster of each sequence, in order."""
    sizes = rng.integers(CLUSTER[0], CLUSTER[1] + 1, sequences)
    return np.repeat(np.arange(sequences), sizes)[:sequences]


def _place(
    rng: np.random.Generator, free: np.ndarray, wanted: np.ndarray, width: int
) -> np.ndarray:
    """(N,) a start drawn evenly among the free ones of each sequence, −1 where none is wanted or
    free; what is taken is marked in ``free`` (N, tokens)."""
    starts = free.shape[1] - width + 1
    possible = np.all([free[:, i : i + starts] for i in range(width)], axis=0)
    key = np.where(possible, rng.random(possible.shape), -1.0)
    chosen = key.argmax(axis=1)
    chosen[(key.max(axis=1) < 0) | ~wanted] = -1
    _take(free, chosen, width)
    return chosen


def _take(free: np.ndarray, start: np.ndarray, width: int) -> None:
    rows = np.flatnonzero(start >= 0)
    for i in range(width):
        free[rows, start[rows] + i] = False


class _Planted:
    """Elements written into the codes of all sequences, and the table of them."""

    def __init__(self, codes: np.ndarray, phase: np.ndarray) -> None:
        self.codes, self.phase = codes, phase
        self.rows: list[pd.DataFrame] = []
        self.consensus: list[np.ndarray] = []

    def plant(
        self, kind: str, start: np.ndarray, texts: np.ndarray, which: np.ndarray | int
    ) -> None:
        """Write ``texts[which]`` at token ``start`` of each sequence where it is not −1."""
        rows = np.flatnonzero(start >= 0)
        number = np.broadcast_to(which, len(start))[rows]
        first = start[rows] * 6 + self.phase[rows]
        self.codes[rows[:, None], first[:, None] + np.arange(texts.shape[1])] = texts[number]
        names = [f"{kind}_{i + 1:02d}" for i in number] if len(texts) > 1 else kind
        columns = {"sequence": rows, "kind": kind, "name": names, "start": first}
        self.rows.append(pd.DataFrame(columns).assign(end=first + texts.shape[1], number=number))


def plant_sequences(config: DemoConfig, grammar: Grammar, in_set: np.ndarray) -> Sequences:
    """All sequences with their elements.

    Parameters: ``in_set`` — (clusters,) bool, whether a cluster's gene is of the true set.
    """
    rng, n = _stream(config, 2), config.sequences
    cluster = _clusters(_stream(config, 1), n)
    source = _copies(_stream(config, 3), cluster)
    carries = rng.random(n) < np.where(in_set[cluster], SET_MOTIF, 0.5)
    positive = carries if config.motif else rng.random(n) < 0.5
    length = np.full(n, config.tokens)
    if config.confound:
        short, long = (config.scaled(span) for span in LENGTHS)
        drawn = [rng.integers(low, high + 1, n) for low, high in (short, long)]
        length = np.where(positive, *drawn)
    codes = rng.choice(4, (n, 6 * config.tokens), p=BASES).astype(np.uint8)
    phase = np.where(rng.random(n) < OFF_PHASE, rng.integers(1, 6, n), 0)
    room = length - (phase > 0)
    free = np.arange(config.tokens) < room[:, None]
    planted = _Planted(codes, phase)
    obeys = _plant_rule(rng, config, grammar, planted, length, room, free)
    planted.plant("motif", _place(rng, free, carries, MOTIF), grammar.motif[None], 0)
    # as many a token in short sequences as in long ones, so that no word tells the class
    per = np.floor(PER_SEQUENCE[config.rule] * length / DESIGN_TOKENS + rng.random(n)).astype(int)
    for i in range(int(per.max())):
        start = _place(rng, free, per > i, WORD)
        planted.plant("word", start, grammar.words, rng.integers(0, WORDS, n))
    elements = pd.concat(planted.rows, ignore_index=True)
    mutated = _element_bases(codes, elements)
    codes = _mutate(rng, codes, mutated * MUTATION)
    # a copy has all of its source, and its own mutations since; its label too, where that is real
    codes, length, phase = codes[source], length[source], phase[source]
    copies = np.flatnonzero(source != np.arange(n))
    since = np.zeros(codes.shape)
    since[copies] = COPY_MUTATION
    since[copies, rng.integers(0, 6 * length[copies])] = 1  # so that none is the same
    codes = _mutate(rng, codes, since)
    positive = positive[source] if config.motif or config.confound else positive
    elements = _of_copies(elements, source)
    texts = {"word": grammar.words, "anchor": grammar.anchors, "target": grammar.targets}
    elements["mutations"] = _mutations(codes, elements, {**texts, "motif": grammar.motif[None]})
    elements["phase"] = phase[elements.sequence]
    told = obeys[source][elements.sequence]
    elements["obeys"] = np.where(elements.kind == "target", np.where(told, "yes", "no"), "")
    elements = elements.sort_values(["sequence", "start"], ignore_index=True)
    return Sequences(codes, length * 6, positive, cluster, source, elements.drop(columns="number"))


def _plant_rule(
    rng: np.random.Generator,
    config: DemoConfig,
    grammar: Grammar,
    planted: _Planted,
    length: np.ndarray,
    room: np.ndarray,
    free: np.ndarray,
) -> np.ndarray:
    """Anchors and targets; whether each sequence's target is that of its anchor, (N,) bool."""
    n = len(room)
    low, high = config.distance()
    prevalence = RARE if config.rule == "rare" else 1.0
    # under the confound as many a token in either class
    here = rng.random(n) < prevalence * length / config.tokens
    longest = np.clip(room - WORD, low, high)
    distance = low + np.floor(rng.random(n) * (longest - low + 1)).astype(int)
    first = np.floor(rng.random(n) * (room - WORD - distance + 1)).astype(int)
    anchor, drawn = rng.integers(0, ANCHORS, n), rng.integers(0, ANCHORS, n)
    target = drawn if config.rule == "absent" else anchor
    for kind, start, texts, which in (
        ("anchor", first, grammar.anchors, anchor),
        ("target", first + distance, grammar.targets, target),
    ):
        start = np.where(here, start, -1)
        _take(free, start, WORD)
        planted.plant(kind, start, texts, which)
    return here & (target == anchor)


def _copies(rng: np.random.Generator, cluster: np.ndarray) -> np.ndarray:
    """(N,) each sequence itself, or for some an original in another cluster."""
    n = len(cluster)
    source = np.arange(n)
    pairs = rng.permutation(n)[: 2 * round(COPIES * n)].reshape(2, -1)
    apart = cluster[pairs[0]] != cluster[pairs[1]]
    source[pairs[0, apart]] = pairs[1, apart]
    return source


def _of_copies(elements: pd.DataFrame, source: np.ndarray) -> pd.DataFrame:
    """The elements of each sequence's source, as its own."""
    order = pd.DataFrame({"own": np.arange(len(source)), "sequence": source})
    found = order.merge(elements, on="sequence")
    return found.drop(columns="sequence").rename(columns={"own": "sequence"})


def _element_bases(codes: np.ndarray, elements: pd.DataFrame) -> np.ndarray:
    """(N, bp) bool: the bases of elements."""
    found = np.zeros(codes.shape, bool)
    for width, rows in elements.groupby(elements.end - elements.start):
        found[
            rows.sequence.to_numpy()[:, None], rows.start.to_numpy()[:, None] + np.arange(width)
        ] = True
    return found


def _mutate(rng: np.random.Generator, codes: np.ndarray, rate: np.ndarray) -> np.ndarray:
    """Each base replaced by one of the three others with probability ``rate``."""
    changed = rng.random(codes.shape) < rate
    return np.where(changed, (codes + rng.integers(1, 4, codes.shape)) % 4, codes).astype(np.uint8)


def _mutations(
    codes: np.ndarray, elements: pd.DataFrame, texts: dict[str, np.ndarray]
) -> np.ndarray:
    """(elements,) bases in which each differs from its text."""
    found = np.zeros(len(elements), int)
    for kind, rows in elements.groupby("kind"):
        text = texts[kind][rows.number]
        here = codes[
            rows.sequence.to_numpy()[:, None],
            rows.start.to_numpy()[:, None] + np.arange(text.shape[1]),
        ]
        found[rows.index] = (here != text).sum(axis=1)
    return found


class Layout(NamedTuple):
    """Where the sequences lie on the contigs."""

    contigs: dict[str, np.ndarray]
    """contig → base codes"""
    kept: dict[str, np.ndarray]
    """contig → bool, the bases of elements"""
    chrom: np.ndarray
    start: np.ndarray
    strand: np.ndarray
    """(N,) each"""


def lay_out(rng: np.random.Generator, found: Sequences) -> Layout:
    """Contigs of background with the clusters in it; those on the other strand are complemented."""
    clusters = int(found.cluster[-1]) + 1
    contig_of = np.arange(clusters) * min(CONTIGS, clusters) // clusters
    other = rng.random(clusters) < REVERSE
    inside = _element_bases(found.codes, found.elements)
    n = len(found.cluster)
    start, strand = np.zeros(n, int), np.where(other[found.cluster], "-", "+")
    chrom = np.array([f"chr{i + 1}" for i in contig_of])[found.cluster]
    pieces: dict[str, list[np.ndarray]] = {}
    kept: dict[str, list[np.ndarray]] = {}
    at = dict.fromkeys(chrom.tolist(), 0)
    spacers = rng.choice(4, (clusters + len(at), SPACER), p=BASES).astype(np.uint8)
    blank = np.zeros(SPACER, bool)
    before, used = -1, 0
    for i in range(n):
        name, size = str(chrom[i]), int(found.length[i])
        if found.cluster[i] != before:
            pieces.setdefault(name, []).append(spacers[used])
            kept.setdefault(name, []).append(blank)
            at[name] += SPACER
            before, used = found.cluster[i], used + 1
        codes, mask = found.codes[i, :size], inside[i, :size]
        pieces[name].append(3 - codes[::-1] if strand[i] == "-" else codes)
        kept[name].append(mask[::-1] if strand[i] == "-" else mask)
        start[i] = at[name]
        at[name] += size
    for name, parts in pieces.items():
        parts.append(spacers[used])
        kept[name].append(blank)
        used += 1
    contigs = {name: np.concatenate(parts) for name, parts in pieces.items()}
    masks = {name: np.concatenate(parts) for name, parts in kept.items()}
    return Layout(contigs, masks, chrom, start, strand)


def _groups(found: Sequences) -> np.ndarray:
    """(N,) clusters joined where one holds a copy of a sequence of the other, numbered by first
    appearance."""
    group = np.arange(int(found.cluster[-1]) + 1)
    for own, other in zip(found.cluster, found.cluster[found.source], strict=True):
        one, two = group[own], group[other]
        if one != two:
            group[group == max(one, two)] = min(one, two)
    return pd.factorize(group[found.cluster])[0]


def _write_all(folder: Path, config: DemoConfig) -> None:
    grammar = draw_grammar(_stream(config, 0))
    cluster = _clusters(_stream(config, 1), config.sequences)
    sizes = np.bincount(cluster)
    true = _stream(config, 4).permutation(len(sizes))[: min(SET_GENES, len(sizes) // 8)]
    in_set = np.isin(np.arange(len(sizes)), true) & config.motif
    found = plant_sequences(config, grammar, in_set)
    layout = lay_out(_stream(config, 5), found)
    ids = np.array([f"seq{i + 1:05d}" for i in range(config.sequences)])
    genes = np.array([f"GENE{i + 1:04d}" for i in range(len(sizes))])
    _write_sequences(folder, found, layout, ids, genes)
    write_fasta(folder / "genome.fa", layout.contigs.items())
    _write_conservation(_stream(config, 6), folder / "conservation.bw", layout)
    _write_tracks(folder / "tracks", found, layout)
    table = pd.DataFrame({"id": ids, "gene": genes[found.cluster]})
    span = np.bincount(found.cluster, weights=found.length).astype(int)
    table["length"] = (span * 10)[found.cluster]
    write_table(folder / "genes.tsv", table)
    sets = _gene_sets(_stream(config, 7), genes, sizes, true)
    lines = ["\t".join([name, "simulated", *members]) for name, members in sets.items()]
    (folder / "terms.gmt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _write_truth(folder / "truth", config, grammar, found, ids, list(sets))
    text = yaml.safe_dump(_description(config), sort_keys=False, width=100)
    (folder / "dataset.yaml").write_text(text, encoding="utf-8")


def _write_sequences(
    folder: Path, found: Sequences, layout: Layout, ids: np.ndarray, genes: np.ndarray
) -> None:
    text = [
        LETTERS[row[:size]].tobytes().decode()
        for row, size in zip(found.codes, found.length, strict=True)
    ]
    frame = pd.DataFrame(
        {
            "id": ids,
            "sequence": text,
            "chrom": layout.chrom,
            "start": layout.start,
            "end": layout.start + found.length,
            "strand": layout.strand,
            "class": np.where(found.positive, *CLASSES),
            "group": _groups(found),
            "gene": genes[found.cluster],
        }
    )
    write_table(folder / "sequences.tsv.gz", frame)


def _write_conservation(rng: np.random.Generator, path: Path, layout: Layout) -> None:
    """bigWig of the share of simulated relatives that have the same base."""
    import pyBigWig

    with pyBigWig.open(str(path), "w") as out:
        out.addHeader([(name, len(codes)) for name, codes in layout.contigs.items()])
        for name, kept in layout.kept.items():
            same = rng.binomial(RELATIVES, 1 - np.where(kept, KEPT, DRIFTED))
            values = (same / RELATIVES).astype(np.float32)
            out.addEntries(name, 0, values=values, span=1, step=1)


def on_contigs(
    sequence: np.ndarray, start: np.ndarray, end: np.ndarray, layout: Layout, length: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Starts and ends on the contigs of intervals given in their sequences as they are read."""
    back = layout.strand[sequence] == "-"
    lower = np.where(back, length[sequence] - end, start)
    lower = layout.start[sequence] + lower
    return lower, lower + end - start


def _write_tracks(folder: Path, found: Sequences, layout: Layout) -> None:
    """BED of words, of the motif and of the rule's words; and the words' decoy (`turned`)."""
    folder.mkdir()
    table = found.elements
    for name, kinds in (("words", ["word"]), ("motif", ["motif"]), ("rule", ["anchor", "target"])):
        rows = table[table.kind.isin(kinds)]
        row, start, end = (rows[field].to_numpy() for field in ("sequence", "start", "end"))
        _write_bed(folder / f"{name}.bed", found, layout, row, start, end, rows.name)
    words = read_bed(folder / "words.bed", min_columns=6)
    write_bed(folder / "words_decoy.bed", turned(words, layout))


def turned(bed: pd.DataFrame, layout: Layout) -> pd.DataFrame:
    """Intervals turned around their contig by about a third of it: as long, as many and as
    clustered, but what lies under them has nothing to do with them. Those that a contig's end would
    cut are left out."""
    size = bed.chrom.map({name: len(codes) for name, codes in layout.contigs.items()})
    start = (bed.start + 6 * (size // 18)) % size
    moved = bed.assign(start=start, end=start + bed.end - bed.start)
    return moved[moved.end <= size].reset_index(drop=True)


def _write_bed(
    path: Path,
    found: Sequences,
    layout: Layout,
    sequence: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    names: pd.Series,
) -> None:
    lower, upper = on_contigs(sequence, start, end, layout, found.length)
    columns = {"chrom": layout.chrom[sequence], "start": lower, "end": upper}
    frame = pd.DataFrame({**columns, "name": names.to_numpy(), "score": 0})
    frame["strand"] = layout.strand[sequence]
    write_bed(path, frame)


def _gene_sets(
    rng: np.random.Generator, genes: np.ndarray, sizes: np.ndarray, true: np.ndarray
) -> dict[str, list[str]]:
    """Term → genes. The first holds the genes rich in the motif; the second long genes, which hold
    a motif more often than others by their length alone; the rest are drawn at random."""
    long = np.flatnonzero(sizes == CLUSTER[1])
    members = [true, rng.permutation(long)[: len(true)]]
    for _ in range(SETS - 2):
        size = int(rng.integers(5, max(6, min(150, len(genes) // 4))))
        members.append(rng.permutation(len(genes))[:size])
    return {f"TERM_{i + 1:02d}": sorted(genes[rows]) for i, rows in enumerate(members)}


def _write_truth(
    folder: Path,
    config: DemoConfig,
    grammar: Grammar,
    found: Sequences,
    ids: np.ndarray,
    sets: list[str],
) -> None:
    folder.mkdir()
    table = found.elements.copy()
    table["sequence"] = ids[table.sequence]
    write_table(folder / "elements.tsv.gz", table.rename(columns={"sequence": "id"}))
    text = {
        field: [LETTERS[codes].tobytes().decode() for codes in np.atleast_2d(value)]
        for field, value in grammar._asdict().items()
    }
    targets = found.elements[found.elements.kind == "target"]
    world = {
        "format": 1,
        "world": asdict(config),
        "elements": "elements.tsv.gz",
        "grammar": text,
        "label": "motif" if config.motif else "random",
        "rule": {
            "prevalence": len(targets) / config.sequences,
            "obeyed": float((targets.obeys == "yes").mean()) if len(targets) else 0.0,
            "holds": config.rule != "absent",
            "kinds": ANCHORS,
            "distance": list(config.distance()),
        },
        "tracks": {"words": True, "motif": True, "rule": True, "words_decoy": False},
        "genesets": {"true": sets[:1] if config.motif else [], "longer": sets[1:2]},
        "copies": int((found.source != np.arange(len(found.source))).sum()),
    }
    text_of = json.dumps(world, indent=1) + "\n"
    (folder / "truth.json").write_text(text_of, encoding="utf-8")


def _description(config: DemoConfig) -> dict[str, object]:
    """The content of dataset.yaml."""
    return {
        "format": 1,
        "kind": "sequences",
        "name": "demo-dna",
        "description": f"Simulated sequences with a planted grammar; rule {config.rule}, labels "
        f"{'by motif' if config.motif else 'random'}, lengths "
        f"{'confounded' if config.confound else 'equal'}",
        "licence": "CC0 1.0 (simulated)",
        "simulation": asdict(config),
        "build": "petri-dna1",
        "sequences": "sequences.tsv.gz",
        "classes": {"positive": CLASSES[0], "negative": CLASSES[1]},
        "genome": "genome.fa",
        "contigs": "genome.fa",
        "tracks": {
            name: f"tracks/{name}.bed" for name in ("words", "motif", "rule", "words_decoy")
        },
        "conservation": "conservation.bw",
        "genes": "genes.tsv",
        "genesets": "terms.gmt",
        "truth": "truth/truth.json",
    }
