"""Read back what stages wrote: one function per kind of file, so that no stage knows another's file
names."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.contrast.moments import Design, Moments
from petriscope.enrich.background import Strata
from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.probe.harvest import open_layers
from petriscope.probe.tokens import Tokens
from petriscope.run.params import load_params
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import SAE
from petriscope.sae.codes import Codes, SufficientStatistics
from petriscope.studies.chromatin.inputs import WindowInputs, bin_tokens
from petriscope.studies.chromatin.model.adapter import adapted_from_safetensors, adapter_record
from petriscope.studies.chromatin.model.base import TOKEN, ChromatinModel
from petriscope.studies.chromatin.model.epibert import EpiBERT
from petriscope.studies.chromatin.model.pretrain import Arrays
from petriscope.studies.chromatin.params import Params


def load_windows(workspace: Workspace) -> pd.DataFrame:
    """Columns window, chrom, start, end, split, block; the row number is the window's index in
    every array."""
    return pd.read_parquet(workspace.windows)


def load_biosamples(workspace: Workspace) -> pd.DataFrame:
    """Columns biosample, lineage, context, donor, fragments, in the order of every S axis."""
    return pd.read_parquet(workspace.tracks / "biosamples.parquet")


def load_design(workspace: Workspace, params: Params) -> Design:
    """Who is compared, with the technical covariates that ``cds.adjust`` names."""
    return Design.from_frame(load_biosamples(workspace), params.cds.adjust)


def load_arrays(workspace: Workspace) -> Arrays:
    """Sequence, signal (both memory-mapped) and motif activity."""
    folder = workspace.tracks
    return Arrays(
        np.load(folder / "sequence.npy", mmap_mode="r"),
        np.load(folder / "signal.npy", mmap_mode="r"),
        np.load(folder / "motif_activity.npy"),
    )


def load_model(workspace: Workspace, device: str = "cpu") -> ChromatinModel:
    """The probed model, in eval mode."""
    path = workspace.model / "model.safetensors"
    if adapter_record(path) is not None:
        named = load_params(workspace.params).model.adapter
        return adapted_from_safetensors(path, named, workspace.root).to(device).eval()
    return EpiBERT.from_safetensors(path).to(device).eval()


def load_inputs(
    workspace: Workspace, model: ChromatinModel, folds: int | None = None
) -> WindowInputs:
    """Model inputs by window; ``folds`` as in `harvest_folds`."""
    windows = load_windows(workspace)
    return WindowInputs(*load_arrays(workspace), model.crop, windows, folds)


def load_tokens(workspace: Workspace, params: Params) -> Tokens:
    """The token axis of every layer and of the codes: (window, biosample, bin)."""
    bins = params.windows.length // TOKEN - 2 * params.windows.crop
    units = len(load_biosamples(workspace))
    return bin_tokens(load_windows(workspace), units, bins, params.windows.crop)


def split_rows(windows: pd.DataFrame, *splits: str) -> np.ndarray:
    """Window rows of one or more splits."""
    return np.flatnonzero(windows.split.isin(splits))


def chosen_layer(value: int | str, layers: int, entry: str) -> int:
    """A layer number from params.yaml; `middle` is the middle block's output."""
    layer = (layers + 1) // 2 if value == "middle" else int(value)
    if not 0 <= layer <= layers:
        raise UserError(
            f"is {layer}",
            file="params.yaml",
            field=entry,
            remedy=f"The model has layers 0 to {layers}.",
        )
    return layer


def bins_table(windows: pd.DataFrame, params: Params) -> pd.DataFrame:
    """Columns chrom, start, end, window, split, block of every predicted bin, in the order of the
    T' axis."""
    bins = params.windows.length // 128 - 2 * params.windows.crop
    offset = 128 * (np.arange(bins) + params.windows.crop)
    start = (windows.start.to_numpy()[:, None] + offset).ravel()
    repeated = windows.loc[
        windows.index.repeat(bins), ["chrom", "window", "split", "block"]
    ].reset_index(drop=True)
    return repeated.assign(start=start, end=start + 128)


def load_sae(workspace: Workspace, layer: int, seed: int) -> SAE:
    """The autoencoder of one layer and seed."""
    return SAE.load(workspace.sae / f"layer_{layer}" / f"seed_{seed}")


def load_autoencoders(workspace: Workspace, params: Params) -> dict[int, SAE]:
    """The probed autoencoder of every layer."""
    return {
        layer: load_sae(workspace, layer, params.sae.seeds[0])
        for layer in layer_numbers(workspace.sae)
    }


def harvest_folds(params: Params) -> int | None:
    """Passes in which each bin is harvested while masked; None where the stream is read with the
    bin visible."""
    return params.activations.folds if params.activations.masking == "kfold" else None


def layer_numbers(folder: Path) -> list[int]:
    """Layers that have a `layer_<k>` folder or file in ``folder``. Raises `FileNotFoundError` where
    it does not exist."""
    return sorted(
        {
            int(path.stem.split("_")[1])
            for path in folder.iterdir()
            if path.name.startswith("layer_")
        }
    )


def block_moments(
    by_window: SufficientStatistics, block: np.ndarray, n_blocks: int | None = None
) -> Moments:
    """Window-level statistics (W, S, m) summed into the blocks (B, S, m) of each window; B =
    max(block) + 1 if not given."""
    shape = (block.max() + 1 if n_blocks is None else n_blocks, len(block))
    onto = sparse.csr_matrix((np.ones(len(block)), (block, np.arange(len(block)))), shape=shape)

    def add(array: np.ndarray) -> np.ndarray:
        return (onto @ array.reshape(len(block), -1)).reshape(-1, *array.shape[1:])

    return Moments(*(add(np.asarray(part, dtype=np.float64)) for part in by_window))


def load_moments(workspace: Workspace, layer: int) -> Moments:
    """Sufficient statistics per (block, biosample, feature) of one layer."""
    folder = workspace.codes / f"layer_{layer}"
    return Moments(*(np.load(folder / f"block_{name}.npy") for name in Moments._fields))


def load_window_means(workspace: Workspace, layer: int, rows: np.ndarray, bins: int) -> np.ndarray:
    """Mean activation (len(rows), S, m) per window and biosample of one layer."""
    sums = np.load(workspace.codes / f"layer_{layer}" / "window_sum.npy", mmap_mode="r")
    return sums[rows] / np.float32(bins)


def layer_codes(workspace: Workspace, layer: int) -> Codes:
    """Sparse codes of every token of one layer, memory-mapped."""
    return Codes.load(workspace.codes / f"layer_{layer}" / "codes")


def read_features(workspace: Workspace) -> pd.DataFrame:
    """The feature table of stage cds with columns context, rank, lineage and direction added.

    ``context``: q < alpha at biosample level, or at locus level where the data set has no
    replicates (column ``evidence`` says which); ``rank`` by that level's |z| within the layer;
    ``direction`` the context with the higher activation; ``lineage`` that of the largest |t|.
    """
    features = pd.read_parquet(workspace.table("cds") / "features.parquet")
    alpha = float(read_json(workspace.metrics("cds"))["alpha"])
    level = "biosample" if features.q_biosample.notna().any() else "locus"
    lineages = list(dict.fromkeys(load_biosamples(workspace).lineage))
    z = features[f"z_{level}"]
    t = features[[f"t_{lineage}_{level}" for lineage in lineages]].abs().fillna(-1.0).to_numpy()
    return features.assign(
        context=(features[f"q_{level}"] < alpha).fillna(False),
        evidence=level,
        rank=z.abs().groupby(features.layer).rank(ascending=False, method="first"),
        direction=np.where(z > 0, "in_vivo", "in_vitro"),
        lineage=np.asarray(lineages)[t.argmax(axis=1)],
    )


class Foregrounds(NamedTuple):
    """What stage foregrounds wrote."""

    matrix: sparse.csr_matrix
    """(F, n) bool."""
    groups: pd.DataFrame
    bins: pd.DataFrame
    strata: Strata
    firing: dict[str, sparse.csr_matrix]
    """Lineage → (features, n) bool, where each feature of kind `feature` fires in that lineage's
    biosamples."""


def load_foregrounds(workspace: Workspace) -> Foregrounds:
    """Foregrounds, their groups, the universe of bins and its strata."""
    folder = workspace.table("foregrounds")
    return Foregrounds(
        sparse.load_npz(folder / "membership.npz").tocsr(),
        pd.read_parquet(folder / "groups.parquet"),
        pd.read_parquet(folder / "bins.parquet"),
        Strata(np.load(folder / "strata.npy"), read_json(folder / "strata.json")),
        {
            path.stem.removeprefix("firing_"): sparse.load_npz(path).tocsr()
            for path in sorted(folder.glob("firing_*.npz"))
        },
    )


def layer_of_claims(workspace: Workspace, params: Params) -> int:
    """The one layer, fixed beforehand, on which annotation claims are read: that of the
    ablation."""
    layers = int(read_json(workspace.metrics("activations"))["layers"]) - 1
    return chosen_layer(params.ablation.layer, layers, "ablation.layer")


def sample_hidden(
    workspace: Workspace, layer: int, windows: np.ndarray, every: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Residual stream of every ``every``-th window of ``windows``: rows (n, d) float32, their
    biosample index (n,)."""
    store = open_layers(workspace.activations)[layer]
    part = np.asarray(store[windows[::every]], dtype=np.float32)
    shape = part.shape
    biosample = np.broadcast_to(np.arange(shape[1])[None, :, None], shape[:3])
    return part.reshape(-1, shape[-1]), biosample.reshape(-1)
