"""Read back what stages wrote: one function per kind of file, so that no stage knows another's file
names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from petriscope.contrast.design import Design
from petriscope.contrast.features import Scoring, with_context
from petriscope.errors import UserError
from petriscope.files import read_json
from petriscope.probe.harvest import open_layers
from petriscope.probe.tokens import Tokens
from petriscope.run.params import load_params
from petriscope.run.workspace import Workspace
from petriscope.sae.coder import SAE
from petriscope.sae.codes import Codes
from petriscope.sae.encode import EncodedLayer
from petriscope.sae.moments import Moments
from petriscope.studies.chromatin.inputs import Arrays, WindowInputs, bin_tokens
from petriscope.studies.chromatin.model.adapter import adapter_record
from petriscope.studies.chromatin.model.base import TOKEN, ChromatinModel
from petriscope.studies.chromatin.model.choose import MODEL_FILE, load_probed
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.units import design_of


def load_windows(workspace: Workspace) -> pd.DataFrame:
    """Columns window, chrom, start, end, split, block; the row number is the window's index in
    every array."""
    return pd.read_parquet(workspace.windows)


def load_biosamples(workspace: Workspace) -> pd.DataFrame:
    """Columns biosample, lineage, context, donor, fragments, in the order of every S axis."""
    return pd.read_parquet(workspace.tracks / "biosamples.parquet")


def load_design(workspace: Workspace, params: Params) -> Design:
    """Who is compared, with the technical covariates that ``cds.adjust`` names."""
    return design_of(load_biosamples(workspace), params.cds.adjust)


def load_arrays(workspace: Workspace) -> Arrays:
    """Sequence, signal (both memory-mapped) and motif activity."""
    return Arrays.load(workspace.tracks)


def load_model(workspace: Workspace, device: str = "cpu") -> ChromatinModel:
    """The probed model, in eval mode."""
    path = workspace.model / MODEL_FILE
    named = load_params(workspace.params).model.adapter if adapter_record(path) else None
    return load_probed(path, named, workspace.root).to(device).eval()


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
    bins = params.windows.length // TOKEN - 2 * params.windows.crop
    start = bin_tokens(windows, 1, bins, params.windows.crop).starts().ravel()
    repeated = windows.loc[
        windows.index.repeat(bins), ["chrom", "window", "split", "block"]
    ].reset_index(drop=True)
    return repeated.assign(start=start, end=start + TOKEN)


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


def load_moments(workspace: Workspace, layer: int) -> Moments:
    """Sufficient statistics per (block, biosample, feature) of one layer."""
    return EncodedLayer(workspace.codes / f"layer_{layer}").moments()


def load_window_means(workspace: Workspace, layer: int, rows: np.ndarray, bins: int) -> np.ndarray:
    """Mean activation (len(rows), S, m) per window and biosample of one layer."""
    sums = EncodedLayer(workspace.codes / f"layer_{layer}").window_sums()
    return sums[rows] / np.float32(bins)


def load_stability(workspace: Workspace) -> pd.DataFrame | None:
    """Columns layer, feature, stability over the autoencoder's seeds; None where one seed ran."""
    path = workspace.sae / "stability.parquet"
    return pd.read_parquet(path) if path.is_file() else None


def layer_codes(workspace: Workspace, layer: int) -> Codes:
    """Sparse codes of every token of one layer, memory-mapped."""
    return EncodedLayer(workspace.codes / f"layer_{layer}").codes()


def scoring(params: Params) -> Scoring:
    """How the run's features are scored."""
    return Scoring(params.cds.min_events, params.cds.permutations, params.seed)


def read_features(workspace: Workspace) -> pd.DataFrame:
    """The feature table of stage cds with columns context, evidence, rank, lineage and direction
    added (`contrast.features.with_context`) at the run's level of significance."""
    features = pd.read_parquet(workspace.table("cds") / "features.parquet")
    alpha = float(read_json(workspace.metrics("cds"))["alpha"])
    return with_context(features, design_of(load_biosamples(workspace)), alpha)


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
