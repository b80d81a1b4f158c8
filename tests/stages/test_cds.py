"""Reference: what a user is told. Bad inputs pass the whole stage: an explicit reason, never a
silent NaN or a p of 0."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from petriscope.contrast.features import Scoring, branch_table, layer_summary
from petriscope.errors import UserError
from petriscope.files import write_json
from petriscope.probe.tokens import Tokens
from petriscope.run.params import load_params
from petriscope.run.scored import read_features
from petriscope.run.workspace import Workspace, template
from petriscope.sae.codes import Moments
from petriscope.stages import calibration, cds
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.units import design_of, load_design

WINDOWS, BINS, FEATURES = 8, 124, 20


def biosamples(
    replicates: int = 3, lineages: tuple[str, ...] = ("blood", "liver", "lymph")
) -> pd.DataFrame:
    rows = [
        (
            f"{lineage}_{context}_{i}",
            lineage,
            context,
            300_000 + 40_000 * ((7 * i + len(lineage)) % 5),
        )
        for lineage in lineages
        for context in ("in_vitro", "in_vivo")
        for i in range(replicates)
    ]
    return pd.DataFrame(rows, columns=["biosample", "lineage", "context", "fragments"])


def workspace(
    tmp_path: Path, frame: pd.DataFrame, seed: int = 0, layers: int = 2
) -> tuple[Workspace, Params]:
    """A workspace as stage codes leaves it: blocks of two windows, feature 0 with a real
    difference."""
    tmp_path.mkdir(exist_ok=True)
    for name in ("params.yaml", "dvc.yaml", "claims.yaml"):
        (tmp_path / name).write_text(template(name).read_text())
    space, rng = Workspace(tmp_path), np.random.default_rng(seed)
    space.tracks.mkdir(parents=True)
    frame.to_parquet(space.tracks / "biosamples.parquet")
    start = np.arange(WINDOWS) * 16384
    windows = pd.DataFrame(
        {
            "window": range(WINDOWS),
            "chrom": "chr1",
            "start": start,
            "end": start + 16384,
            "split": "select",
            "block": np.arange(WINDOWS) // 2,
        }
    )
    Tokens.grid(windows, len(frame), BINS, width=128, offset=256).save(space.tokens)
    vivo = (frame.context == "in_vivo").to_numpy()
    for layer in range(layers):
        donor = np.exp(0.2 * rng.normal(size=(len(frame), FEATURES)))
        donor[vivo, 0] *= 5
        total = rng.gamma(20, 0.5, (WINDOWS, len(frame), FEATURES)) * donor
        folder = space.codes / f"layer_{layer}"
        folder.mkdir(parents=True)
        np.save(folder / "window_sum.npy", total.astype(np.float32))
        blocks = total.reshape(WINDOWS // 2, 2, len(frame), FEATURES).sum(1)
        np.save(folder / "block_sum.npy", blocks)
        np.save(folder / "block_sumsq.npy", blocks**2)
        np.save(folder / "block_active.npy", np.full(blocks.shape, 40.0))
        np.save(folder / "block_tokens.npy", np.full(blocks.shape[:2], 2.0 * BINS))
    params = load_params(space.params)
    small = dataclasses.replace(params.cds, permutations=2000, bootstrap=100)
    return space, dataclasses.replace(
        params, cds=small, calibration=dataclasses.replace(params.calibration, nulls=20, seeds=2)
    )


def change(space: Workspace, name: str, at: tuple[object, ...], value: float) -> None:
    for folder in space.codes.glob("layer_*"):
        array = np.load(folder / f"{name}.npy")
        array[at] = value
        np.save(folder / f"{name}.npy", array)


def test_a_whole_data_set_is_tested_in_one_family(tmp_path: Path) -> None:
    space, params = workspace(tmp_path, biosamples())
    metrics = cds.run(space, params)
    table = pd.read_parquet(space.table("cds") / "features.parquet")
    assert (
        metrics.untestable is None and metrics.family == "alive features of all layers (40 tests)"
    )
    assert metrics.stable is None and metrics.stable_rise_low is None
    assert (table[table.feature == 0].q_biosample < 0.05).all()
    assert (table[table.feature == 0].p_maxt_all_biosample < 0.05).all()
    assert (table.p_maxt_all_biosample >= table.p_maxt_biosample - 1e-9).all()
    assert table.method_biosample.str.contains("adjusted for depth").all()


def test_seed_stability_enters_where_it_was_measured(tmp_path: Path) -> None:
    space, params = workspace(tmp_path, biosamples())
    space.sae.mkdir()
    stability = pd.DataFrame(
        {"layer": np.repeat([0, 1], FEATURES), "feature": np.tile(range(FEATURES), 2)}
    )
    stability["stability"] = np.where(stability.feature < 5, 0.9, 0.3)
    stability.to_parquet(space.sae / "stability.parquet")
    metrics = cds.run(space, params)
    assert metrics.stable == [5, 5]
    assert metrics.stable_context_fraction[0] >= 0.2


def test_one_biosample_a_side_has_no_biosample_level_p(tmp_path: Path) -> None:
    space, params = workspace(tmp_path, biosamples(replicates=1))
    metrics = cds.run(space, params)
    assert "a biosample-level test needs two a side" in str(metrics.untestable)
    write_json(space.metrics("cds"), dataclasses.asdict(metrics))
    features = read_features(space, load_design(space, params))
    assert features.p_biosample.isna().all() and (features.evidence == "locus").all()
    assert features.status_biosample.str.startswith("cannot be tested").all()
    assert "no lineage has two biosamples a side" in str(calibration.run(space, params).untestable)
    with pytest.raises(UserError, match=r"no lineage has two biosamples a side.*replicates"):
        calibration.null_data(space, params, load_design(space, params))


def test_a_lineage_without_one_context_is_left_out_with_its_reason(tmp_path: Path) -> None:
    frame = biosamples()
    space, params = workspace(
        tmp_path, frame[~((frame.lineage == "liver") & (frame.context == "in_vivo"))]
    )
    metrics = cds.run(space, params)
    assert metrics.untestable is None
    assert metrics.strata_without_test == ["lineage liver has no in_vivo biosample"]
    table = pd.read_parquet(space.table("cds") / "features.parquet")
    assert table.p_liver_biosample.isna().all()
    assert (table.p_biosample > 0).all()
    assert "2 lineages" in table.n_biosample.iloc[0]
    summary = calibration.run(space, params)
    assert summary.untestable is None


def test_silent_features_and_silent_layers(tmp_path: Path) -> None:
    space, params = workspace(tmp_path, biosamples())
    for name in ("block_sum", "block_sumsq", "block_active", "window_sum"):
        change(space, name, (..., slice(3, 6)), 0.0)
    cds.run(space, params)
    table = pd.read_parquet(space.table("cds") / "features.parquet").set_index(["layer", "feature"])
    assert not table.loc[(0, 3), "alive"] and np.isnan(table.loc[(0, 3), "p_biosample"])
    assert table.loc[(0, 3), "p_published_bonferroni"] == 1.0
    change(space, "block_active", (...,), 0.0)
    with pytest.raises(
        UserError, match=r"cds.min_events: no feature of layer 0 fires that often.*Lower it"
    ):
        cds.run(space, params)


def test_a_control_in_which_nothing_fires_has_no_test_and_takes_none_from_the_other_layers() -> (
    None
):
    rng, shape = np.random.default_rng(2), (WINDOWS, 18, FEATURES)
    active, tokens = rng.integers(20, 60, shape), np.full(shape[:2], BINS)
    total = active * rng.gamma(4.0, 0.25, shape)
    fires = Moments(total, total**2, active, tokens)
    silent = Moments(*(np.zeros_like(part) for part in fires[:3]), tokens)
    scored, blocks = design_of(biosamples()), np.arange(WINDOWS) // 2
    how = Scoring(min_events=50.0, permutations=200, seed=1)
    both = branch_table({0: fires, 1: silent}, blocks, scored, how)
    alone = branch_table({0: fires}, blocks, scored, how)
    assert not both[both.layer == 1].alive.any() and both[both.layer == 1].p_biosample.isna().all()
    pd.testing.assert_frame_equal(both[both.layer == 0][list(alone)], alone, check_dtype=False)
    nothing = layer_summary(branch_table({1: silent}, blocks, scored, how), scored, 0.05)
    assert nothing.alive.tolist() == nothing.context_count.tolist() == [0]


def test_nan_is_refused_with_its_place(tmp_path: Path) -> None:
    space, params = workspace(tmp_path, biosamples())
    change(space, "block_sum", (1, 2, 3), np.nan)
    with pytest.raises(
        UserError, match=r"sum: not finite at \(block, unit, feature\) \(1, 2, 3\).*harvest"
    ):
        cds.run(space, params)
    space, params = workspace(tmp_path / "windows", biosamples())
    change(space, "window_sum", (1, 0, 3), np.nan)
    with pytest.raises(UserError, match="window means of lineage blood hold NaN"):
        cds.run(space, params)


def test_contexts_of_no_lineage(tmp_path: Path) -> None:
    frame = biosamples()
    space, params = workspace(tmp_path, frame[frame.context == "in_vitro"])
    with pytest.raises(UserError, match=r"lineage blood has no in_vivo biosample.*both contexts"):
        cds.run(space, params)
