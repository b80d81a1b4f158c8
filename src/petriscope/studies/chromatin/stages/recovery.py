"""Stage recovery: does any feature fire where an element of a programme was planted? Simulated data
only."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from petriscope.contrast.effects import auroc_sparse
from petriscope.files import atomic_folder, write_csv
from petriscope.progress import progress
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import load_dataset, read_truth
from petriscope.studies.chromatin.params import Params
from petriscope.studies.chromatin.store import (
    bins_table,
    layer_codes,
    layer_numbers,
    load_biosamples,
    load_windows,
    read_features,
)

LEAST_OVERLAP = 64
"""bp of an element that make a bin positive; bins touched by less are left out."""


def run(workspace: Workspace, params: Params) -> dict[str, Any]:
    """Write results/recovery/: programmes.csv, the best feature of each programme, and
    features.parquet."""
    dataset = load_dataset(workspace.dataset(params.dataset))
    if dataset.truth is None:
        why = "no planted truth in this data set"
        with atomic_folder(workspace.table("recovery")) as folder:
            write_csv(
                folder / "programmes.csv",
                pd.DataFrame(columns=["programme", "layer", "feature", "auroc_test"]),
            )
        texts = dict.fromkeys(("auroc_min", "auroc_text", "interval_text"))
        return {"testable": False, "why_untestable": why, **texts}
    truth = read_truth(dataset.truth)
    windows, biosamples = load_windows(workspace), load_biosamples(workspace)
    bins, features = bins_table(windows, params), read_features(workspace)
    rows = []
    openings = programme_openings(truth)
    programmes = [name for name in openings if name != "shared"]
    for layer in progress(layer_numbers(workspace.codes), "recovery", unit="layer"):
        codes = layer_codes(workspace, layer).scipy()
        mine = features[features.layer == layer].sort_values("feature")
        for programme in programmes:
            columns = programme_biosamples(openings[programme], biosamples)
            activity = bin_activity(codes, columns, len(windows), len(biosamples))
            positive, used = programme_bins(bins, truth, programme)
            scores = {}
            for split in ("select", "test"):
                here = used & (bins.split == split).to_numpy()
                scores[split] = aurocs(activity, positive, here)
            rows.append(
                pd.DataFrame(
                    {
                        "programme": programme,
                        "layer": layer,
                        "feature": mine.feature.to_numpy(),
                        "context_feature": mine.context.to_numpy(),
                        "auroc_select": scores["select"],
                        "auroc_test": scores["test"],
                    }
                )
            )
    table = pd.concat(rows, ignore_index=True)
    best = table.sort_values("auroc_select", ascending=False, kind="stable").drop_duplicates(
        "programme"
    )
    context = table[table.context_feature].sort_values(
        "auroc_select", ascending=False, kind="stable"
    )
    context = context.drop_duplicates("programme").sort_values("programme")
    with atomic_folder(workspace.table("recovery")) as folder:
        table.to_parquet(folder / "features.parquet", index=False)
        write_csv(folder / "programmes.csv", best.sort_values("programme"))
        write_csv(folder / "context_programmes.csv", context)
    of_context = [name for name, opening in openings.items() if len(opening.contexts) == 1]
    planted = context[context.programme.isin(of_context)]
    return {
        "testable": bool(len(planted)),
        "why_untestable": None if len(planted) else "no context feature was found",
        "auroc": dict(zip(best.programme, best.auroc_test)),
        "auroc_context": dict(zip(context.programme, context.auroc_test)),
        "auroc_min": float(planted.auroc_test.min()) if len(planted) else None,
        "auroc_text": "; ".join(
            f"{r.programme} {r.auroc_test:.2f} (L{r.layer}/{r.feature})"
            for r in planted.itertuples()
        ),
        "interval_text": f"best context feature chosen on select, AUROC on test; lowest of "
        f"{len(planted)} programmes decides",
    }


class Opening(NamedTuple):
    """The conditions in which the elements of a programme are open."""

    lineages: tuple[str, ...]
    contexts: tuple[str, ...]


def programme_openings(truth: pd.DataFrame) -> dict[str, Opening]:
    """Programme → where it is open, as the truth table's columns lineages and contexts say."""
    rules = truth.drop_duplicates("programme").sort_values("programme")
    return {
        row.programme: Opening(tuple(row.lineages.split(",")), tuple(row.contexts.split(",")))
        for row in rules.itertuples()
    }


def programme_biosamples(opening: Opening, biosamples: pd.DataFrame) -> np.ndarray:
    """Rows of the biosamples in which a programme is open."""
    rows = biosamples.lineage.isin(opening.lineages) & biosamples.context.isin(opening.contexts)
    return np.flatnonzero(rows)


def bin_activity(
    codes: sparse.csr_matrix, columns: np.ndarray, windows: int, biosamples: int
) -> sparse.csr_matrix:
    """Mean activation over chosen biosamples per bin: (W·T', m) from codes of rows (window,
    biosample, bin)."""
    bins = codes.shape[0] // (windows * biosamples)
    row = np.arange(windows * bins)
    source = (
        (row // bins)[:, None] * biosamples * bins + columns[None] * bins + (row % bins)[:, None]
    )
    weights = np.full(source.size, 1 / len(columns), dtype=np.float32)
    average = sparse.csr_matrix(
        (weights, (np.repeat(row, len(columns)), source.ravel())), shape=(len(row), codes.shape[0])
    )
    return average @ codes


def programme_bins(
    bins: pd.DataFrame, truth: pd.DataFrame, programme: str
) -> tuple[np.ndarray, np.ndarray]:
    """(positive, used) bool per bin: bins of the programme's elements, against bins the programme
    does not touch."""
    mine = truth[truth.programme == programme].drop_duplicates(["chrom", "start"])
    overlap = (
        bins[["chrom", "start"]]
        .merge(mine[["chrom", "start", "overlap"]], on=["chrom", "start"], how="left")
        .overlap
    )
    positive = (overlap >= LEAST_OVERLAP).to_numpy()
    return positive, positive | overlap.isna().to_numpy()


def aurocs(activity: sparse.csr_matrix, positive: np.ndarray, used: np.ndarray) -> np.ndarray:
    """(m,) AUROC of every feature on the used bins."""
    rows = np.flatnonzero(used)
    part = activity[rows]
    label = positive[rows]
    of_value = np.repeat(label, np.diff(part.indptr))
    return auroc_sparse(
        part.indices,
        part.data,
        of_value,
        n_positive=int(label.sum()),
        n_negative=int((~label).sum()),
        m=activity.shape[1],
    )
