"""Stages contigs, tracks and concepts on a small planted world, with an untrained model: their
files, their numbers, and what they say where something is missing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from petriscope.files import read_csv
from petriscope.run.params import load_params
from petriscope.run.params_edit import override
from petriscope.run.workspace import Workspace, template
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig
from petriscope.studies.dna.contigs import ContigCodes
from petriscope.studies.dna.data.simulate import simulate_demo
from petriscope.studies.dna.model.nucleotide import NucleotideConfig, NucleotideTransformer
from petriscope.studies.dna.model.weights import save_model
from petriscope.studies.dna.stages import concepts, contigs, sequences, tracks
from petriscope.studies.dna.study import STUDY

D = 16


def _sae(m: int, seed: int) -> SAE:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(torch.randn(m, D, generator=generator))
    config = SAEConfig(d=D, m=m, k=4, variant="topk")
    return SAE(config, rows.clone(), torch.zeros(m), rows, torch.zeros(D), 1.0, 0.0)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    root = tmp_path_factory.mktemp("dna")
    (root / "params.yaml").write_text(template("params.yaml", STUDY).read_text())
    (root / "dvc.yaml").write_text(template("dvc.yaml", STUDY).read_text())
    simulate_demo(root / "data", sequences=120, tokens=24)
    given = {"tracks.shifts": 60, "tracks.min_shift": 60, "cds.bootstrap": 100}
    given |= {"cds.min_events": 5, "concepts.min_tokens": 10, "contigs.tokens": 4000}
    override(root / "params.yaml", {"dataset": "data", **given})
    made = Workspace(root)
    sequences.run(made, load_params(made.params))
    model = NucleotideTransformer(NucleotideConfig("v2", 2, D, 2, 32), init_seed=1).eval()
    for base, weights in (
        (made.results, model),
        (made.results / "random_init", model.reinitialized(9)),
    ):
        (base / "model").mkdir(parents=True)
        save_model(weights, base / "model")
        for layer in range(3):
            _sae(32, layer).save(base / "sae" / f"layer_{layer}" / "seed_0")
    for layer in range(3):
        for factor in (2, 4):
            folder = made.results / "expansions" / f"layer_{layer}" / f"factor_{factor}"
            _sae(D * factor, factor).save(folder)
    return made


@pytest.fixture(scope="module")
def found(workspace):
    params = load_params(workspace.params)
    return {
        "contigs": contigs.run(workspace, params),
        "tracks": tracks.run(workspace, params),
        "concepts": concepts.run(workspace, params),
    }


def test_contigs_are_read_by_both_models(workspace, found) -> None:
    assert found["contigs"].source == "contigs" and found["contigs"].random_init
    held = ContigCodes(workspace.table("contigs"))
    assert held.layers == [0, 1, 2] == found["contigs"].layers
    n = len(held.tokens)
    assert n == found["contigs"].tokens and 3000 < n <= 4600
    for layer in held.layers:
        assert held.hidden(layer).shape == (n, D)
        for model in ("trained", "random_init"):
            codes = held.codes(layer, model)
            assert codes.n == n and codes.m == 32
    again = _sae(32, 1).encode(np.asarray(held.hidden(1)[:50]))
    assert np.array_equal(again.dense(), held.codes(1).rows(0, 50).dense())
    assert not (workspace.table("contigs") / "scratch").exists()


def test_tracks_and_what_the_ledger_reads(workspace, found) -> None:
    numbers, folder = found["tracks"], workspace.table("tracks")
    layers = read_csv(folder / "by_layer.csv")
    names = {"words", "motif", "rule", "words_decoy", "conservation"}
    assert set(layers.track) == names and set(layers.model) == {"trained", "random_init"}
    assert len(layers) == 2 * 3 * 5
    rows = {row["track"]: row for row in numbers.tracks}
    assert [name for name, row in rows.items() if row["decoy"]] == ["words_decoy"]
    assert numbers.decoys == 1 and numbers.shifts == 60 and numbers.random_init
    table = read_csv(folder / "correlations.csv")
    assert table.max_t.between(0.0163, 1).all() and table.r.abs().le(1).all()
    for name, row in rows.items():
        mine = layers[(layers.track == name) & (layers.model == "trained")]
        alpha = load_params(workspace.params).cds.alpha
        assert row["trained_layers"] == mine.layer[mine.max_t < alpha].tolist()
    assert {(row["factor"], row["than"]) for row in numbers.expansions} == {(4, 2)}
    assert isinstance(numbers.expansions_equivalent, bool)
    shown = read_csv(folder / "published.csv")
    assert set(shown.track) == names - {"conservation"} and set(shown.by) == {"pearson", "cosine"}
    assert numbers.published_best == pytest.approx(shown["mean"].max(), rel=1e-4)
    assert (shown["rank"].max(), shown["rank"].min()) == (5, 1) and shown.control.notna().any()
    json.dumps(numbers.tracks)


def test_concepts_against_every_baseline(workspace, found) -> None:
    numbers, folder = found["concepts"], workspace.table("concepts")
    best, wins = read_csv(folder / "best.csv"), read_csv(folder / "wins.csv")
    sources = {"dictionary", "neurons", "principal components", "random init", "token identity"}
    assert set(best.source) == sources and len(best) == 3 * 5 * numbers.concepts
    assert set(wins.baseline) == sources - {"dictionary"}
    counts = wins[wins.kind == "all"]
    assert (counts.concepts == numbers.concepts).all()
    assert (counts.surely_better <= counts.better).all()
    table = best[(best.layer == 1) & (best.source == "dictionary")].set_index("concept")
    other = best[(best.layer == 1) & (best.source == "neurons")].set_index("concept")
    row = counts[(counts.layer == 1) & (counts.baseline == "neurons") & (counts.metric == "f1")]
    assert row.better.item() == (table.f1 > other.f1).sum()
    names = set(read_csv(folder / "concepts.csv").concept)
    assert {"motif", "rule: anchor", "words_decoy", "CG"} <= names
    assert not any(name.startswith("words_decoy: ") for name in names)
    told = best[(best.source == "token identity") & (best.concept == "CG")]
    assert (told.auroc > 0.75).all()  # a token that holds CG is known by itself


def test_a_second_run_writes_the_same_bytes(workspace, found) -> None:
    params = load_params(workspace.params)
    files = sorted(path for stage in found for path in workspace.table(stage).rglob("*.*"))
    before = {path: path.read_bytes() for path in files if path.is_file()}
    for stage in (contigs, tracks, concepts):
        stage.run(workspace, params)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_dna_that_nothing_annotates_is_untestable(workspace, found, tmp_path: Path) -> None:
    text = (workspace.root / "data" / "dataset.yaml").read_text()
    for path in (workspace.root / "data").iterdir():
        if path.name != "dataset.yaml":
            (tmp_path / path.name).symlink_to(path)
    lines = text.split("\n")
    start = lines.index("tracks:")
    end = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith(" "))
    kept = [line for line in lines[:start] + lines[end:] if not line.startswith("conservation")]
    (tmp_path / "dataset.yaml").write_text("\n".join(kept))
    other = tmp_path / "w"
    (other / "results").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        (other / name).write_text((workspace.root / name).read_text())
    for path in workspace.results.iterdir():
        if path.name not in ("tracks", "concepts"):
            (other / "results" / path.name).symlink_to(path)
    override(other / "params.yaml", {"dataset": str(tmp_path)})
    bare = Workspace(other)
    numbers = tracks.run(bare, load_params(bare.params))
    assert numbers.untestable is not None and numbers.tracks is None
    assert (bare.table("tracks") / "not_run.txt").read_text().strip() == numbers.untestable
    left = concepts.run(bare, load_params(bare.params))
    assert left.untestable is None and left.annotation == 0 and left.concepts > 3
    kinds = pd.DataFrame(left.wins).kind.unique().tolist()
    assert kinds == ["all", "sequence"]
