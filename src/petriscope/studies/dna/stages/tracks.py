"""Stage tracks: features of every layer against annotation along contiguous DNA, as published and
with a null, in the trained and the randomly initialized model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from petriscope.errors import UserError
from petriscope.files import atomic_folder, write_csv, write_not_run
from petriscope.genome.fasta import Genome
from petriscope.parallel import in_processes
from petriscope.probe.harvest import layer_paths
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import SAE, encode_rows, saved_layers
from petriscope.studies.dna.contigs import ContigCodes, piece_length
from petriscope.studies.dna.data.dataset import SequenceSet, load_dataset, read_truth
from petriscope.studies.dna.depth import (
    Interval,
    ModelScores,
    TokenAxis,
    drop_with_depth,
    equivalence,
    held_out,
    score_model,
    token_axis_of,
)
from petriscope.studies.dna.elements import published_table
from petriscope.studies.dna.model.weights import load_model
from petriscope.studies.dna.params import Params
from petriscope.studies.dna.sequences import load_sequences
from petriscope.studies.dna.tracks import token_tracks

MODELS = ("trained", "random_init")
LEAST = 50
"""tokens of a track, and without it, at least"""
EQUIVALENT = 0.02
"""best r of two expansions that differ by less are the same"""


@dataclass(frozen=True)
class Found:
    """What carries the tracks, and at which layers."""

    untestable: str | None = None
    tokens: int = 0
    shifts: int = 0
    random_init: bool = False
    """Whether there is a randomly initialized model to compare with."""
    tracks: list[dict[str, Any]] | None = None
    """A row per track: decoy, layers with maxT p below alpha in either model (also of the partial
    r), and those of the trained model alone."""
    layers: list[dict[str, Any]] | None = None
    """A row per layer: mean held-out r of the best latents over the tracks found, with interval, of
    the trained and of the random model."""
    found: int = 0
    """Tracks with a maxT p below alpha in the trained model, decoys aside."""
    early_beyond_random: int = 0
    """Of these, tracks found in an early layer while the random model finds them in none: one that
    its untrained embedding carries owes nothing to what was learnt."""
    decoys: int = 0
    decoys_found: int = 0
    drop: dict[str, float] | None = None
    """Later less earlier layers: mean held-out r over the tracks found; value, low, high."""
    expansions: list[dict[str, float]] | None = None
    """Pairs of expansions: difference of the mean best r, with interval."""
    expansions_equivalent: bool | None = None
    """Every interval lies within ±.02; None where there are fewer than two expansions."""
    published_best: float | None = None
    """The largest published score (mean r over windows), and the largest in windows moved away."""
    published_control: float | None = None


def run(workspace: Workspace, params: Params) -> Found:
    """Write results/tracks/: correlations.csv, by_layer.csv, expansions.csv, published.csv."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    contigs = ContigCodes(workspace.table("contigs"))
    tracks = usable_tracks(dataset, contigs)
    if not tracks:
        why = "the data set annotates none of the DNA that was read"
        write_not_run(workspace.table("tracks"), why)
        return Found(untestable=why)
    axis = _axis(contigs, params)
    names = MODELS if contigs.has_random else MODELS[:1]

    def one(model: str) -> ModelScores:
        codes = {layer: contigs.codes(layer, model).scipy() for layer in contigs.layers}
        return score_model(codes, tracks, axis, params.cds.min_events)

    scores = dict(zip(names, in_processes(one, names, "tracks", unit="model"), strict=True))
    expansions = compare_expansions(workspace.table("expansions"), contigs, tracks, axis)
    shown = published_scores(workspace, params, dataset)
    with atomic_folder(workspace.table("tracks")) as folder:
        for name in ("correlations", "by_layer"):
            table = [getattr(found, name).assign(model=model) for model, found in scores.items()]
            write_csv(folder / f"{name}.csv", pd.concat(table, ignore_index=True))
        write_csv(folder / "expansions.csv", expansions)
        write_csv(folder / "published.csv", shown)
    numbers = summarize(scores, list(tracks), decoys_of(dataset), params.cds.alpha)
    least = expansions[["low", "high"]].abs().max(axis=None) if len(expansions) else None
    return Found(
        tokens=len(contigs.tokens),
        shifts=len(axis.shifts),
        random_init=contigs.has_random,
        expansions=expansions.to_dict("records"),
        expansions_equivalent=None if least is None else bool(least < EQUIVALENT),
        published_best=float(shown["mean"].max()) if len(shown) else None,
        published_control=float(shown.control_best.max()) if len(shown) else None,
        **numbers,
    )


def usable_tracks(dataset: SequenceSet, contigs: ContigCodes) -> dict[str, np.ndarray]:
    """Tracks of the data set, conservation among them, on the tokens: those with enough tokens
    inside and outside."""
    paths: dict[str, Path] = dict(dataset.tracks)
    if dataset.conservation is not None:
        paths["conservation"] = dataset.conservation
    tokens = contigs.tokens
    place = (contigs.chrom, tokens.start.to_numpy(), tokens.width.to_numpy(np.int64))
    found = token_tracks(paths, *place)
    return {
        name: values
        for name, values in found.items()
        if min((values > values.min()).sum(), (values < values.max()).sum()) >= LEAST
    }


def decoys_of(dataset: SequenceSet) -> list[str]:
    """Tracks that a planted truth calls false."""
    if dataset.truth is None:
        return []
    known = read_truth(dataset.truth).world.get("tracks", {})
    return [name for name, true in known.items() if not true]


def _axis(contigs: ContigCodes, params: Params) -> TokenAxis:
    given = params.tracks
    if len(contigs.tokens) < 3 * given.min_shift:
        raise UserError(
            f"is {given.min_shift}, but the contigs have {len(contigs.tokens)} tokens in all",
            file="params.yaml",
            field="tracks.min_shift",
            remedy="Give more contiguous DNA, or make it smaller.",
        )
    return token_axis_of(
        contigs.tokens,
        contigs.gc,
        shifts=given.shifts,
        min_shift=given.min_shift,
        bootstrap=params.cds.bootstrap,
        seed=params.seed,
    )


def compare_expansions(
    folder: Path, contigs: ContigCodes, tracks: dict[str, np.ndarray], axis: TokenAxis
) -> pd.DataFrame:
    """Mean held-out best r over layers and tracks of each expansion in ``folder``
    (layer_<k>/factor_<f>), in pairs; empty where there are none."""
    places = {
        (int(path.name.split("_")[1]), layer): path
        for layer, parent in (layer_paths(folder) if folder.is_dir() else {}).items()
        for path in sorted(parent.glob("factor_*"))
        if (path / "cfg.json").is_file()
    }
    y = np.stack(list(tracks.values()), axis=1)

    def one(key: tuple[int, int]) -> np.ndarray:
        codes = encode_rows(SAE.load(places[key]), contigs.hidden(key[1]))
        return held_out(codes.scipy(), y, axis).r.mean(axis=1)

    keys = sorted(places)
    found = dict(zip(keys, in_processes(one, keys, "tracks of expansions"), strict=True))
    factors = sorted({factor for factor, _ in keys})
    best = {
        factor: np.mean([r for key, r in found.items() if key[0] == factor], axis=0)
        for factor in factors
    }
    return equivalence(best)


def published_scores(workspace: Workspace, params: Params, dataset: SequenceSet) -> pd.DataFrame:
    """The published comparison on windows of the data set's genome."""
    fasta = dataset.genome or dataset.contigs
    if fasta is None:
        return pd.DataFrame(columns=["mean", "control_best"])
    model = load_model(workspace.model)
    longest = int(load_sequences(workspace).frame.n_tokens.max())
    bp = piece_length(model.config.limit, longest, params.model.weights is None)
    with TemporaryDirectory() as scratch:
        return published_table(
            model,
            saved_layers(workspace.sae, params.sae.seeds[0]),
            dataset.tracks,
            Genome([fasta]),
            form=model.config.form,
            bp=bp,
            scratch=Path(scratch),
        )


def summarize(
    scores: dict[str, ModelScores], names: list[str], decoys: list[str], alpha: float
) -> dict[str, Any]:
    """The entries of `Found` that follow from the tables."""
    layers = sorted(scores["trained"].held_out)
    early = layers[: (len(layers) + 1) // 2]
    rows = []
    for name in names:
        row: dict[str, Any] = {"track": name, "decoy": name.split(":")[0] in decoys}
        for model, found in scores.items():
            mine = found.by_layer[found.by_layer.track == name]
            row[f"{model}_layers"] = mine.layer[mine.max_t < alpha].tolist()
            row[f"{model}_partial_layers"] = mine.layer[mine.partial_max_t < alpha].tolist()
            row[f"{model}_max_t"] = float(mine.max_t.min())
        random = set(row.get("random_init_layers", []))
        row["beyond_random"] = [k for k in row["trained_layers"] if k not in random]
        row["best_layer"] = int(_best_layer(scores["trained"].by_layer, name))
        rows.append(row)
    true = [row for row in rows if not row["decoy"]]
    kept = [i for i, row in enumerate(rows) if row["trained_layers"] and not row["decoy"]]
    drop = drop_with_depth(scores["trained"].held_out, np.array(kept, int))
    per_layer = []
    for layer in layers:
        entry: dict[str, Any] = {"layer": layer}
        for model, found in scores.items():
            if kept and layer in found.held_out:
                entry[model] = Interval.of(found.held_out[layer][:, kept].mean(1))._asdict()
        per_layer.append(entry)
    return {
        "tracks": rows,
        "layers": per_layer,
        "found": len(kept),
        "early_beyond_random": sum(
            bool(set(row["trained_layers"]) & set(early))
            and not set(row["random_init_layers"]) & set(early)
            for row in true
        )
        if "random_init" in scores
        else 0,
        "decoys": len(rows) - len(true),
        "decoys_found": sum(bool(row["trained_layers"]) for row in rows if row["decoy"]),
        "drop": None if drop is None else drop._asdict(),
    }


def _best_layer(by_layer: pd.DataFrame, track: str) -> int:
    mine = by_layer[by_layer.track == track]
    return int(mine.layer.iloc[int(mine.held_out_r.argmax())])
