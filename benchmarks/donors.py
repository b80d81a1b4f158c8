"""How many donors, adjusted for what: new donors of the simulator through a finished demo's model
and autoencoders.

    python benchmarks/donors.py [WORKSPACE] [--donors 10] [--alike 15] [--draws 25]

Prints (1) what the fraction of reads in peaks (FRiP) measures: its difference between contexts
among libraries alike in everything but openness, where there should be none, and its correlation
with the share of fragments that the simulator put into elements; (2) how well technical covariates
predict a library's mean activations, by leave-one-out error within conditions: no context label is
used, so this may choose the covariates; (3) for each number of donors a condition, drawn again and
again from the new ones, how many features the test finds, how many of those are false by the truth
of still other donors with libraries alike (stage truth), the share of features without a true
difference whose p is below .05, and the power.
"""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from petriscope.contrast.evidence import fit, layout
from petriscope.contrast.results import adjust
from petriscope.genome.coverage import MARGIN, share_in_peaks
from petriscope.probe.tokens import split_rows
from petriscope.run.params import load_params
from petriscope.run.scored import SPLIT, read_features
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.data.dataset import load_dataset
from petriscope.studies.chromatin.inputs import load_windows
from petriscope.studies.chromatin.simulate.dataset import DemoConfig, Libraries, simulate_libraries
from petriscope.studies.chromatin.stages.truth import library_means
from petriscope.studies.chromatin.truth import true_difference
from petriscope.studies.chromatin.units import design_of, load_biosamples, units_of

SETS = ("depth",), ("depth", "depth squared"), ("depth", "frip"), ("depth", "frip", "depth squared")


def log_frip(libraries: Libraries, windows: pd.DataFrame, margin: int = MARGIN) -> np.ndarray:
    """(S,) log2 FRiP over all windows, as stage tracks measures it."""
    signals = (libraries.signal[:, i].astype(np.float32) for i in range(len(libraries.table)))
    return np.log2(share_in_peaks(signals, pd.concat(libraries.peaks), windows, margin))


def within(values: np.ndarray, table: pd.DataFrame) -> np.ndarray:
    """Deviations from the mean of each lineage and context."""
    return (
        values
        - pd.Series(values).groupby([table.lineage, table.context]).transform("mean").to_numpy()
    )


def left_out(values: np.ndarray, condition: np.ndarray, extra: list[np.ndarray]) -> np.ndarray:
    """(m,) leave-one-out squared error of condition means and ``extra`` columns."""
    columns = np.column_stack([pd.get_dummies(condition).to_numpy(float), *extra])
    hat = columns @ np.linalg.pinv(columns)
    return (((values - hat @ values) / (1 - np.diag(hat))[:, None]) ** 2).sum(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", nargs="?", default=".")
    for name, default in (("donors", 10), ("alike", 15), ("draws", 25), ("seed", 99)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    workspace = Workspace(Path(args.workspace).resolve())
    params = load_params(workspace.params)
    dataset = load_dataset(workspace.dataset(params.dataset))
    simulation = yaml.safe_load(dataset.source.read_text())["simulation"]
    config = DemoConfig(**{field.name: simulation[field.name] for field in fields(DemoConfig)})
    windows = load_windows(workspace)
    rows = split_rows(windows, SPLIT)
    alike = simulate_libraries(config, windows, donors=args.alike, alike=True, seed=args.seed + 1)
    made = simulate_libraries(config, windows, donors=args.donors, alike=False, seed=args.seed)
    true_means, means = (
        library_means(workspace, params, dataset, some._replace(signal=some.signal[rows]), rows)
        for some in (alike, made)
    )
    donors = made.table.assign(frip=2 ** log_frip(made, windows))
    features = read_features(workspace, design_of(load_biosamples(workspace))).sort_values(
        ["layer", "feature"]
    )
    alive = {layer: frame.alive.to_numpy() for layer, frame in features.groupby("layer")}
    new = design_of(alike.table, [])
    truth = np.concatenate(
        [
            true_difference(v, new, alive[k], alpha=params.cds.alpha).sign[alive[k]]
            for k, v in sorted(true_means.items())
        ]
    )
    values = {layer: means[layer][:, alive[layer]] for layer in sorted(means)}
    condition = (donors.lineage + " " + donors.context).to_numpy()
    known = units_of(donors).frame
    print(
        f"{len(donors)} new donors, {len(truth)} alive features, {(truth != 0).mean():.1%} truly "
        f"context-dependent\n"
    )
    print(
        "FRiP with a margin around peaks of: in vivo - in vitro among alike libraries, their sd; "
        "sd of the others, "
        "its r with the true share"
    )
    vivo = (alike.table.context == "in_vivo").to_numpy()
    for margin in (0, 100, MARGIN, 500, 1000):
        same, other = log_frip(alike, windows, margin), log_frip(made, windows, margin)
        r = np.corrcoef(
            within(other, donors), within(np.log2(donors.in_elements.to_numpy()), donors)
        )[0, 1]
        gap = same[vivo].mean() - same[~vivo].mean()
        print(
            f"  {margin:5} bp  {gap:+.4f}  {within(same, alike.table).std():.4f}  "
            f"{within(other, donors).std():.4f}  {r:.3f}"
        )
    print("\nmedian R² over features, leave-one-out within conditions, by layer")
    for names in SETS:
        shares = [
            1
            - np.median(
                left_out(v, condition, [known[n] for n in names]) / left_out(v, condition, [])
            )
            for v in values.values()
        ]
        print(f"  {' + '.join(names):32} " + " ".join(f"{share:.2f}" for share in shares))
    print(
        "\ndonors  adjusted for     found  false  share false  nulls p < .05  power   (means over "
        "draws)"
    )
    rng = np.random.default_rng(args.seed)
    groups = [
        frame.index.to_numpy() for _, frame in donors.groupby(["lineage", "context"], sort=False)
    ]
    for count in sorted({3, 5, args.donors // 2, args.donors - 2, args.donors}):
        for names in ([], ["depth"], ["depth", "frip"]):
            found = []
            for _ in range(args.draws if count < args.donors else 1):
                drawn = np.concatenate([rng.permutation(group)[:count] for group in groups])
                design = design_of(donors.iloc[drawn].reset_index(drop=True), names)
                tests = [
                    fit(v[drawn], layout(design, design.strata)).combined for v in values.values()
                ]
                p = np.concatenate([test.p for test in tests])
                q = adjust(p, "bh")
                right = truth == np.sign(np.concatenate([test.t for test in tests]))
                hit = q <= params.cds.alpha
                rejected = (p[truth == 0] < 0.05).mean() if (truth == 0).any() else 0.0
                power = (hit & right).sum() / max((truth != 0).sum(), 1)
                found.append((hit.sum(), (hit & ~right).sum(), rejected, power))
            total, false, rejected, power = np.mean(found, axis=0)
            share = false / total if total else 0.0
            print(
                f"{count:6}  {' + '.join(names) or 'nothing':16} {total:5.0f}  {false:5.0f}  "
                f"{share:11.1%}  {rejected:13.1%}  {power:5.1%}"
            )


if __name__ == "__main__":
    main()
