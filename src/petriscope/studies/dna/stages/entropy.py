"""Stage entropy: how predictable the DNA is by counting, and what latents owe to that beyond the
identity of their token."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from petriscope.contrast.inference import PermutationP
from petriscope.enrich.correlation import (
    Lookup,
    block_weights,
    circular_shifts,
    correlate,
    pearson,
)
from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv
from petriscope.genome.fasta import Genome
from petriscope.parallel import in_processes
from petriscope.probe.harvest import layer_paths
from petriscope.run.params import chosen_layer
from petriscope.run.workspace import Workspace
from petriscope.sae.encode import encoded_layers
from petriscope.studies.dna.data.dataset import SequenceSet, load_dataset, read_truth
from petriscope.studies.dna.entropy import (
    BREAK,
    Chosen,
    Scan,
    codes_of,
    held_out,
    published_bits,
)
from petriscope.studies.dna.inputs import load_places
from petriscope.studies.dna.locality import interval
from petriscope.studies.dna.params import Params
from petriscope.studies.dna.sequences import load_sequences
from petriscope.studies.dna.surprisal import (
    Partition,
    block_partial_r,
    element_share,
    local_gc,
    partition,
    scan_of,
    token_sums,
    token_surprisal,
)
from petriscope.studies.dna.tracks import bigwig_mean, token_tracks

JUDGED = 600
"""held-out sequences on which k is chosen"""
PARTITIONED = 32
"""latents whose variance is divided: those of the largest partial r on the select groups"""
SHIFT = 200
"""tokens by which the surprisal is turned, at least"""


@dataclass(frozen=True)
class Model:
    """What the latents of one model owe to surprisal."""

    untestable: str | None = None
    alive: int | None = None
    significant: int | None = None
    """latents whose partial r with surprisal, given token identity and GC, passes maxT"""
    low: int | None = None
    """of these, those that fire where surprisal is low"""
    high: int | None = None
    strongest: float | None = None
    strongest_feature: int | None = None
    size: float | None = None
    """mean over alive latents of the partial r on test groups, counted positive where it has the
    sign that it has on select groups: 0 of noise"""
    size_low: float | None = None
    size_high: float | None = None
    mean_r: float | None = None
    """mean partial r: below 0, latents fire where the DNA is predictable"""
    mean_r_low: float | None = None
    mean_r_high: float | None = None
    explained: float | None = None
    """share of variance of the strongest latents that all predictors explain on test groups"""
    unique: dict[str, list[float]] = field(default_factory=dict)
    """predictor → what is lost without it, and its interval over groups"""


@dataclass(frozen=True)
class EntropyNumbers:
    """How predictable the DNA is by counting, and how the latents follow it."""

    trained: Model
    random: Model
    layer: int
    k: int
    """chosen by the surprisal of held-out sequences"""
    held_out: float
    """bits a base there"""
    longest_k: int
    published_entropy: float
    """mean bits at the longest k as published: the scanned base counted"""
    leave_one_out: float
    """mean surprisal at the same k without it"""
    singletons: float
    """share of its contexts that occur once"""
    bases: int
    """scanned"""
    tokens: int
    """held-out tokens that latents are compared on"""
    published_low: float
    """share of latents that fire where the published entropy is below its mean (plain r below 0)"""
    difference: float | None = None
    """size of the trained model minus that of the random one"""
    difference_low: float | None = None
    difference_high: float | None = None
    word_bits: float | None = None
    """surprisal of a planted word's token"""
    background_bits: float | None = None
    untestable: str | None = None


class Held(NamedTuple):
    """The held-out tokens that latents are compared on."""

    frame: pd.DataFrame
    """sequences, in order"""
    rows: np.ndarray
    """(n,) rows of the token axis"""
    row: np.ndarray
    """(n,) sequence of each"""
    start: np.ndarray
    width: np.ndarray
    token: np.ndarray
    """(n,) id"""

    def kept(self, good: np.ndarray) -> Held:
        """Some of the tokens."""
        return Held(self.frame, *(column[good] for column in self[1:]))


def run(workspace: Workspace, params: Params) -> EntropyNumbers:
    """Write results/entropy/: by_k.csv (contiguous DNA as published and corrected, held-out
    sequences), features.csv (a row per latent and model), partition.csv."""
    dataset, asked = load_dataset(workspace.dataset(params.dataset)), params.entropy
    frame = load_sequences(workspace).frame
    counted = codes_of(frame.sequence[frame.split == "train"].tolist())
    select = frame.sequence[frame.split == "select"].iloc[:JUDGED].tolist()
    chosen = held_out(counted, codes_of(select), asked.ks)
    table = by_k(dataset, frame, chosen)
    held = held_tokens(frame, load_places(workspace), asked.tokens)
    where = (held.frame.sequence.tolist(), held.row, held.start, held.width)
    bits = token_surprisal(Scan.of(counted, chosen.best), *where)
    entropy = token_sums(published_bits(codes_of(where[0]), max(asked.ks)), *where)
    good = ~np.isnan(bits) & ~np.isnan(entropy)
    held, bits, entropy = held.kept(good), bits[good], entropy[good]
    if len(bits) < 3 * SHIFT:
        what = f"leaves {len(bits)} held-out tokens, {3 * SHIFT} are needed"
        raise UserError(what, field="entropy.ks", remedy="Use a smaller k or more sequences.")
    predictors = token_predictors(dataset, held, bits)
    layer = chosen_layer(params.layer, max(layer_paths(workspace.codes)), "layer")
    models = {"trained": workspace.codes}
    if (random := workspace.table("random_init") / "codes").is_dir():
        models["random_init"] = random
    found = {n: follow(p, layer, held, predictors, params) for n, p in models.items()}
    with atomic_folder(workspace.table("entropy")) as folder:
        write_csv(folder / "by_k.csv", table)
        write_csv(folder / "features.csv", pd.concat([f.table(n) for n, f in found.items()]))
        write_csv(folder / "partition.csv", pd.concat([f.shares(n) for n, f in found.items()]))
    why = (
        None
        if "random_init" in found
        else ("the randomly initialized model was not run (controls.random_init is false)")
    )
    last = table.iloc[-1]
    plain = pearson(found["trained"].codes, entropy[:, None])[:, 0]
    return EntropyNumbers(
        trained=found["trained"].numbers(params.cds.alpha),
        random=Model(why) if why else found["random_init"].numbers(params.cds.alpha),
        layer=layer,
        k=chosen.best,
        held_out=float(chosen.surprisal.min()),
        longest_k=int(last.k),
        published_entropy=float(last.published_entropy),
        leave_one_out=float(last.leave_one_out),
        singletons=float(last.singletons),
        bases=int(last.bases),
        tokens=len(bits),
        published_low=float((plain < 0).mean()) if len(plain) else float("nan"),
        untestable=why,
        **_difference(found),
        **_planted(dataset, held, bits),
    )


def by_k(dataset: SequenceSet, frame: pd.DataFrame, chosen: Chosen) -> pd.DataFrame:
    """A row per k: contiguous DNA (or, without any, the sequences), and the held-out sequences."""
    if dataset.contigs is None:
        text = codes_of(frame.sequence.tolist())
    else:
        genome = Genome([dataset.contigs])
        parts = []
        for one in genome.contigs.itertuples():
            parts += [
                genome.fetch_codes(one.chrom, one.start, one.end),
                np.array([BREAK], np.uint8),
            ]
        text = np.concatenate(parts)
    rows = list(in_processes(lambda k: scan_of(text, int(k)), chosen.k, "counting", unit="k"))
    return pd.DataFrame(rows).assign(held_out=chosen.surprisal, held_out_seen=chosen.seen)


def held_tokens(frame: pd.DataFrame, places: pd.DataFrame, most: int) -> Held:
    """Tokens with bases of at most about ``most`` tokens' worth of select and test sequences,
    whole, evenly chosen."""
    count = frame.n_tokens.to_numpy()
    first = np.concatenate([[0], np.cumsum(count)])
    picked = np.flatnonzero(frame.split.isin(["select", "test"]))
    share = min(1.0, most / max(1, int(count[picked].sum())))
    picked = picked[
        np.unique(np.linspace(0, len(picked) - 1, max(2, int(len(picked) * share))).astype(int))
    ]
    rows = np.concatenate([np.arange(first[i], first[i + 1]) for i in picked])
    row = np.repeat(np.arange(len(picked)), count[picked])
    bases = places.width.to_numpy()[rows] > 0
    rows, row = rows[bases], row[bases]
    columns = (places[name].to_numpy()[rows].astype(np.int64) for name in ("start", "width", "id"))
    return Held(frame.iloc[picked].reset_index(drop=True), rows, row, *columns)


def token_predictors(dataset: SequenceSet, held: Held, bits: np.ndarray) -> dict[str, np.ndarray]:
    """Name → (n, q): surprisal and GC; conservation and tracks where the data set has them and the
    sequences their loci."""
    frame = held.frame
    where = (frame.sequence.tolist(), held.row, held.start, held.width)
    found = {"surprisal": bits[:, None], "gc": local_gc(*where)[:, None]}
    if frame.chrom.isna().any() or frame.start.isna().any():
        return found
    start, end = (frame[name].to_numpy(np.int64)[held.row] for name in ("start", "end"))
    back = (frame.strand == "-").to_numpy()[held.row]
    place = np.where(back, end - held.start - held.width, start + held.start)
    at = (frame.chrom.to_numpy()[held.row], place, held.width)
    if dataset.conservation is not None:
        found["conservation"] = bigwig_mean(dataset.conservation, *at)[:, None]
    if dataset.tracks:
        found["tracks"] = np.stack(list(token_tracks(dataset.tracks, *at).values()), axis=1)
    return found


class Followed(NamedTuple):
    """What one model's latents owe to surprisal."""

    codes: Any
    """CSR (n, alive)"""
    alive: np.ndarray
    """(alive,) indices of the latents that fire often enough"""
    r: np.ndarray
    """(alive,)"""
    test: PermutationP
    spread: np.ndarray
    """(R, alive) r over bootstrap samples of groups; the first of all"""
    again: np.ndarray
    """(R, alive) the same of test groups, times the sign of r on select groups"""
    parts: Partition

    def numbers(self, alpha: float) -> Model:
        """For the ledger."""
        if not len(self.alive):
            return Model("no latent is alive on the held-out tokens")
        hit = self.test.max_t < alpha
        size, mean = self.again.mean(1), self.spread.mean(1)
        best = int(np.nanargmax(np.abs(self.r)))
        size_low, size_high = interval(size[1:])
        mean_low, mean_high = interval(mean[1:])
        return Model(
            alive=len(self.alive),
            significant=int(hit.sum()),
            low=int((hit & (self.r < 0)).sum()),
            high=int((hit & (self.r > 0)).sum()),
            strongest=float(self.r[best]),
            strongest_feature=int(self.alive[best]),
            size=float(size[0]),
            size_low=size_low,
            size_high=size_high,
            mean_r=float(mean[0]),
            mean_r_low=mean_low,
            mean_r_high=mean_high,
            explained=float(self.parts.whole[0]),
            unique={
                name: [float(share[0]), *interval(share[1:])]
                for name, share in self.parts.unique.items()
            },
        )

    def table(self, name: str) -> pd.DataFrame:
        """Columns model, feature, r, low, high, p, max_t."""
        low, high = np.quantile(self.spread[1:], [0.025, 0.975], axis=0)
        columns = {"model": name, "feature": self.alive, "r": self.r, "low": low, "high": high}
        return pd.DataFrame({**columns, "p": self.test.p, "max_t": self.test.max_t})

    def shares(self, name: str) -> pd.DataFrame:
        """Columns model, predictor, kind (whole, alone, unique), share, low, high."""
        rows = [("all", "whole", self.parts.whole)]
        rows += [(predictor, "alone", share) for predictor, share in self.parts.alone.items()]
        rows += [(predictor, "unique", share) for predictor, share in self.parts.unique.items()]
        return pd.DataFrame(
            [
                (name, predictor, kind, share[0], *interval(share[1:]))
                for predictor, kind, share in rows
            ],
            columns=["model", "predictor", "kind", "share", "low", "high"],
        )


def follow(
    folder: Path, layer: int, held: Held, predictors: dict[str, np.ndarray], params: Params
) -> Followed:
    """Partial r of every latent with surprisal, its test and its share beside other predictors."""
    codes = encoded_layers(folder)[layer].codes().scipy()[held.rows]
    alive = np.flatnonzero(codes.getnnz(0) >= params.cds.min_events)
    codes = codes[:, alive]
    ring, seed = np.zeros(len(held.rows), np.int64), params.seed
    lookup, bits = Lookup(held.token, predictors["gc"]), predictors["surprisal"]
    shifts = circular_shifts(ring, params.entropy.shifts, SHIFT, seed)
    found = correlate(codes, bits, ring, shifts, lookup)
    block = pd.factorize(held.frame.group)[0][held.row]
    size = int(block.max()) + 1
    weights = block_weights(np.arange(size), size, params.cds.bootstrap, seed)
    fitted = (held.frame.split == "select").to_numpy()[held.row]
    mine = np.isin(np.arange(size), block[fitted]).astype(float)
    judged = block_weights(np.unique(block[~fitted]), size, params.cds.bootstrap, seed)
    together = np.concatenate([weights, judged, mine[None]])
    r = block_partial_r(codes, bits[:, 0], lookup, block, together)
    on_select, n = r[-1], len(weights)
    strongest = np.sort(np.argsort(-np.abs(on_select), kind="stable")[:PARTITIONED])
    dense = codes[:, strongest].toarray()
    parts = partition(dense, held.token, predictors, fitted, block, judged)
    again = r[n:-1] * np.sign(on_select)
    return Followed(codes, alive, found.r[:, 0], found.test, r[:n], again, parts)


def _difference(found: dict[str, Followed]) -> dict[str, float]:
    """Size of the trained model minus that of the random one, over the same groups."""
    if "random_init" not in found or not all(len(one.alive) for one in found.values()):
        return {}
    step = found["trained"].again.mean(1) - found["random_init"].again.mean(1)
    low, high = interval(step[1:])
    return {"difference": float(step[0]), "difference_low": low, "difference_high": high}


def _planted(dataset: SequenceSet, held: Held, bits: np.ndarray) -> dict[str, float]:
    """Surprisal of tokens in planted words and in background."""
    if dataset.truth is None:
        return {}
    elements, frame = read_truth(dataset.truth).elements, held.frame
    where = (frame.id.tolist(), frame.sequence.tolist(), held.row, held.start, held.width)
    word = element_share(elements[elements.kind == "word"], *where) == 1
    free = element_share(elements, *where) == 0
    if not word.any() or not free.any():
        return {}
    return {"word_bits": float(bits[word].mean()), "background_bits": float(bits[free].mean())}
