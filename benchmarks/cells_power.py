"""Which planted regulons do the data and a model of study cells show, by how hard the world is?

`python benchmarks/cells_power.py FOLDER` simulates small worlds along two lines, several seeds of
each: through the demo's two difficulties (fewer counts in a cell and weaker regulation make a world
harder), with little training; and, at the demo's easy difficulty, through more and more training
(cells and optimizer steps are multiplied alike). It trains an scGPT-like model on the cells that
nobody touched, and runs the study's stages up to `perturbation`. Counted are the TFs of each planted kind that are found, each by a p below .05 of
its own (D: ranked first among all TFs, which chance makes one in 15):

- data: the regulon moves in the expression data (the ceiling; the larger p of both its nulls);
- A: some feature's mean over the known targets' positions moves (Simes over features);
- B: the features that respond name the regulon;
- C: readings of the known targets fall where the TF is lowered in silico;
- D: that prediction agrees with the TF's own knock-down more than with each other TF's (rank 1).

A TF that a measure cannot test counts as not found. Beside them stand A with the labels of the cells
shuffled within batches, C and D of a randomly initialized model, D of plain correlation in control
cells, and how often a planted regulon is found by B (the power of the stage).

FOLDER keeps a file per finished world, which is not run again. The table and the figure are written
from those files (`--only-draw` runs no world).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import resource
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # before any of them is loaded

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from petriscope.contrast.results import adjust
from petriscope.device import choose_device
from petriscope.figures.style import LINEAGES, panels, whiskers
from petriscope.files import atomic_path, write_csv
from petriscope.progress import progress
from petriscope.run.params import load_params
from petriscope.run.params_edit import override
from petriscope.run.snapshot import refresh_code
from petriscope.run.stage import run_stage
from petriscope.run.studies import find_study
from petriscope.run.workspace import Workspace, create_workspace
from petriscope.studies.cells.branches import probed
from petriscope.studies.cells.data import world as planted
from petriscope.studies.cells.data.simulate import simulate_demo
from petriscope.studies.cells.inputs import load_inputs, load_model
from petriscope.studies.cells.knockdown import HOW, Virtual, agreement, falls, in_silico
from petriscope.studies.cells.params import Params
from petriscope.studies.cells.perturbation import responses_at_targets
from petriscope.studies.cells.regulons import Material, respond
from petriscope.studies.cells.stages.perturbation import Ground, asked_of, prepare
from petriscope.studies.cells.stages.random_init import SEED as RANDOM_SEED
from petriscope.studies.cells.tiny import TINY_PARAMS

REPOSITORY = Path(__file__).resolve().parents[1]
TABLE = REPOSITORY / "docs/data/cells_power.csv"
FIGURE = REPOSITORY / "docs/screenshots/cells-power.png"
STEPS = (0.0, 0.5, 1.0, 1.5)
"""Places on the line through the two difficulties: 0 is hard, 1 is easy."""
TRAININGS = (1, 2, 4)
"""What cells and optimizer steps are multiplied by, at the easy difficulty."""
SEEDS = (1, 2)
ALPHA = 0.05
DATA: Mapping[str, Any] = {
    **{"cells": 1200, "controls": 200, "per_target": 40, "second": 20, "genes": 116, "donors": 8},
    **{"n_types": 3, "n_programmes": 5, "programme_genes": 8, "novel": 0},
    **{"encoded": 5, "coexpressed": 5, "silent": 5},
}
ASKED: Mapping[str, Any] = {
    **TINY_PARAMS,
    **{"family": "scgpt", "geneformer.steps": 0},
    **{"scgpt.layers": 2, "scgpt.d_model": 48, "scgpt.heads": 4, "scgpt.ffn": 48},
    **{"scgpt.steps": 900, "scgpt.batch": 24},
    **{"sae.latents": 96, "sae.k": 8, "sae.batch": 1024, "sae.tokens": 60_000, "sae.seeds": [0]},
    **{"catalog.min_fires": 3, "catalog.min_tokens": 10, "cds.alpha": ALPHA},
    **{"perturbation.min_cells": 10, "perturbation.min_control_firing_cells": 20},
    **{"perturbation.random_regulons": 400, "perturbation.planted": [6]},
    **{"perturbation.cells": 200, "causal.mask_fold": 0.3},
}
STAGES = ("cells", "model", "activations", "sae", "codes", "perturbation")
KINDS = planted.KINDS
MEASURES = {
    "data": "Data (ceiling)",
    "A": "A: features move",
    "B": "B: they name the regulon",
    "C": "C: targets fall in silico",
    "D": "D: own knock-down first",
}
DIGITS = {"counts": 1, "slope": 2, "share": 3, "low": 3, "high": 3, "chance": 4}
"""of the table"""
BESIDE = {"A": "A shuffled", "C": "C random", "D": "D random"}
"""Measures and the control that stands beside each."""


class Grade(NamedTuple):
    """How hard a world is."""

    name: str
    counts: float
    """median of a cell"""
    slope: float
    """log change of a target per log change of its TF"""


def grade(step: float) -> Grade:
    """The place ``step`` of the line through hard (0) and easy (1): counts by ratio, the slope by
    difference."""
    hard, easy = (planted.DEPTH[name] for name in ("hard", "easy"))
    low, high = (planted.SLOPE[name] for name in ("hard", "easy"))
    name = {0.0: "hard", 1.0: "easy"}.get(step, f"{step:+g}")
    return Grade(name, hard * (easy / hard) ** step, low + (high - low) * step)


class World(NamedTuple):
    """One world to simulate."""

    grade: Grade
    seed: int
    training: int = 1
    """times the least cells and optimizer steps"""

    @property
    def name(self) -> str:
        """Of its folder."""
        more = "" if self.training == 1 else f"_x{self.training}"
        return f"{self.grade.name}_{self.seed}{more}"

    @property
    def data(self) -> dict[str, Any]:
        """What the simulator is asked for."""
        return {**DATA, "cells": DATA["cells"] * self.training}

    @property
    def asked(self) -> dict[str, Any]:
        """What of params.yaml is set."""
        return {**ASKED, "scgpt.steps": ASKED["scgpt.steps"] * self.training}

    @property
    def columns(self) -> dict[str, Any]:
        """What its rows say of it."""
        named = {"counts": self.grade.counts, "slope": self.grade.slope, "grade": self.grade.name}
        return {**named, "cells": self.data["cells"], "steps": self.asked["scgpt.steps"]}


def worlds(steps: Sequence[float], trainings: Sequence[int], seeds: Sequence[int]) -> list[World]:
    """Both lines; a world that lies on both stands once."""
    lines = [(grade(step), 1) for step in steps] + [(grade(1.0), times) for times in trainings]
    return [World(one, seed, times) for seed in seeds for one, times in dict.fromkeys(lines)]


@contextlib.contextmanager
def simulated(one: Grade) -> Iterator[None]:
    """The simulator knows this grade too; what it writes of its own two stays as it is."""
    with (
        mock.patch.dict(planted.DEPTH, {one.name: one.counts}),
        mock.patch.dict(planted.SLOPE, {one.name: one.slope}),
        mock.patch.object(planted, "DIFFICULTIES", (*planted.DIFFICULTIES, one.name)),
    ):
        yield


def run_world(root: Path, world: World) -> pd.DataFrame:
    """A row per measure and TF (columns measure, kind, target, p, found, of, chance; p NaN:
    cannot be tested), and one for the planted regulons of the stage."""
    workspace = create_workspace(root, study=find_study("cells"))
    with simulated(world.grade):
        given = {**world.data, "seed": world.seed, "difficulty": world.grade.name}
        simulate_demo(workspace.root / "data/world", **given)
    override(workspace.params, {"dataset": "data/world", "seed": world.seed, **world.asked})
    refresh_code(workspace.root)
    for name in STAGES:
        run_stage(name, workspace)
    truth = json.loads((workspace.root / "data/world/truth.json").read_text(encoding="utf-8"))
    kind = {name.upper(): tf["kind"] for name, tf in truth["tfs"].items()}
    found = {**from_tables(workspace), **computed(workspace)}
    rows: list[dict[str, Any]] = []
    for measure, p in found.items():
        # a rank among n is found where it is the first, of which chance gives one in n
        ranked = measure.startswith("D")
        chance = 1 / max(1, len(p)) if ranked else ALPHA
        limit = 1.5 * chance if ranked else ALPHA
        for name, of in kind.items():
            value = p.get(name, np.nan)
            row = {"measure": measure, "kind": of, "target": name, "p": value}
            rows.append({**row, "found": int(value < limit), "of": 1, "chance": chance})
    power = pd.read_csv(workspace.table("perturbation") / "power.csv").iloc[-1]
    most = {"measure": "planted", "kind": "planted", "found": power.found, "of": power.tries}
    return pd.DataFrame([*rows, {**most, "chance": ALPHA / len(kind)}])


def from_tables(workspace: Workspace) -> dict[str, dict[str, float]]:
    """p of each TF as stage perturbation wrote them, measure by measure."""
    folder = workspace.table("perturbation")

    def of(name: str, key: str, value: str) -> dict[str, float]:
        frame = pd.read_csv(folder / f"{name}.csv")
        if "how" in frame:
            frame = frame[frame.how.isin([HOW[0], "correlation"])]
        if name == "agreement":
            frame = frame.assign(p=frame["rank"] / frame.of)
            frame = frame[frame.model == value]
        return dict(zip(frame[key].astype(str), frame.p.astype(float)))

    return {
        "data": of("ceiling", "target", ""),
        "B": of("regulons", "name", ""),
        "C": of("knockdowns", "name", ""),
        "D": of("agreement", "target", "scgpt"),
        "D correlation": of("agreement", "target", "data"),
    }


def computed(workspace: Workspace) -> dict[str, dict[str, float]]:
    """What the stage counts and does not list TF by TF: A at the known targets, beside shuffled
    labels; and C and D of the model with random weights."""
    params = load_params(workspace.params)
    assert isinstance(params, Params)
    ground = prepare(workspace, params)
    if isinstance(ground, str):
        raise SystemExit(ground)
    branch, asked = probed(workspace, params), asked_of(params)
    layers = branch.layers()
    material = Material(
        branch.encoded(layers[len(layers) // 2]).codes(),
        branch.places().gene.to_numpy(np.int64),
        branch.tokens().window.astype(np.int64),
    )
    genes_of = {one.name: one.genes for one in ground.regulons}

    def at_targets(given: Ground) -> dict[str, float]:
        found = responses_at_targets(
            *(material.codes, material.cell, material.gene, given.who, genes_of),
            min_control_firing=asked.min_control_firing,
        )
        return {
            name: simes(p) for name, p in zip(given.who.targets, found.p) if np.isfinite(p).any()
        }

    rng, group = np.random.default_rng(params.seed), ground.who.group.copy()
    for batch in np.unique(ground.who.batch):
        mine = np.flatnonzero((group >= 0) & (ground.who.batch == batch))
        group[mine] = group[rng.permutation(mine)]
    shuffled = ground._replace(who=ground.who._replace(group=group))
    axes = respond(material, ground.who, ground.scored, ground.regulons, ground.degree, asked)
    random = untrained(workspace, params, ground, axes.axes, axes.usable)
    return {"A": at_targets(ground), "A shuffled": at_targets(shuffled), **random}


def simes(p: np.ndarray) -> float:
    """One p of many: the smallest that Benjamini-Hochberg leaves."""
    return float(np.nanmin(adjust(p[np.isfinite(p)], "bh")))


def untrained(
    workspace: Workspace, params: Params, ground: Ground, axes: np.ndarray, usable: np.ndarray
) -> dict[str, dict[str, float]]:
    """C and D as the stage asks them, of the model before any training."""
    inputs = load_inputs(workspace, params, params.family)
    model = load_model(workspace, params.family).reinitialized(params.seed + RANDOM_SEED)
    model = model.to(choose_device(params.device)).eval()
    place = {name: row for row, name in enumerate(ground.names)}
    virtual = Virtual(
        *(inputs.encoded, inputs.padding, ground.who.control, params.perturbation.cells),
        *(params.causal.mask_fold, len(ground.names), params.family == "scgpt", params.seed),
    )
    tfs = [(name, place[name]) for name in ground.who.targets if name in place]
    predicted = in_silico(model, virtual, tfs, HOW[0])
    many = {"draws": params.perturbation.random_regulons, "seed": params.seed}
    rows = [ground.who.targets.index(name) for name in predicted.names]
    agreed = agreement(
        *(predicted.names, predicted.change, ground.moved.t[rows], predicted.tf, usable), **many
    )
    ranks = {} if agreed is None else dict(zip(agreed.names, agreed.rank / len(agreed.names)))
    fallen = falls(predicted, ground.regulons, axes, usable, **many)
    return {"C random": {one.name: one.p for one in fallen}, "D random": ranks}


# The table and the figure ------------------------------------------------------------------------


def wilson(found: int, of: int) -> tuple[float, float]:
    """95 % limits of a share."""
    limits = stats.binomtest(found, of).proportion_ci(method="wilson")
    return float(limits.low), float(limits.high)


def summarized(worlds: pd.DataFrame) -> pd.DataFrame:
    """Over the seeds of a grade: TFs found of all, the share and its limits, those that could be
    tested, and the share that chance gives."""
    rows = []
    keys = ["counts", "slope", "grade", "cells", "steps", "measure", "kind"]
    for key, mine in worlds.groupby(keys, sort=False):
        one = dict(zip(keys, key))
        found, of, chance = int(mine.found.sum()), int(mine.of.sum()), float(mine.chance.mean())
        tested = of if one["measure"] == "planted" else int(mine.p.notna().sum())
        low, high = wilson(found, of)
        counted = {"found": found, "of": of, "tested": tested, "share": found / of}
        rows.append({**one, **counted, "low": low, "high": high, "chance": chance})
    return pd.DataFrame(rows).sort_values(["steps", "counts", "measure", "kind"], ignore_index=True)


COLORS = dict(zip(KINDS, (LINEAGES[0], LINEAGES[1], LINEAGES[2])))
MARKERS = dict(zip(KINDS, "os^"))


def draw(table: pd.DataFrame, path: Path) -> None:
    """A panel per measure: share of each kind's TFs that are found, by counts of a cell; and below
    by training."""
    figure, axes = panels(len(MEASURES), width=2.3, height=2.6, rows=2)
    least = table[table.steps == table.steps.min()]
    lines = {
        "counts": (least, "median counts of a cell (slope of regulation)\nharder ← → easier"),
        "steps": (table[table.grade == "easy"], "optimizer steps (cells)\nless ← → more training"),
    }
    for row, (by, (mine, said)) in enumerate(lines.items()):
        mine_axes = axes[row * len(MEASURES) :][: len(MEASURES)]
        for panel, (measure, title) in zip(mine_axes, MEASURES.items()):
            draw_measure(panel, mine, measure, by)
            panel.set_title("" if row else title)
        mine_axes[0].set_ylabel("share of TFs found")
        mine_axes[len(MEASURES) // 2].set_xlabel(said)
    handles, labels = axes[3].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130, metadata={"Software": None}, format="png")


BESIDE_TICK = {"counts": "slope", "steps": "cells"}
"""What stands below each number of an axis."""


def draw_measure(panel: Axes, table: pd.DataFrame, measure: str, by: str) -> None:
    """One panel over the column ``by``; the kinds stand a little beside each other, so that their
    limits can be read."""
    marks = table[[by, BESIDE_TICK[by]]].drop_duplicates().sort_values(by)
    at = np.log2(marks[by].to_numpy())
    for number, kind in enumerate(KINDS):
        mine = table[(table.measure == measure) & (table.kind == kind)].sort_values(by)
        shift = 0.09 * (number - 1)
        panel.errorbar(
            *(np.log2(mine[by]) + shift, mine.share),
            yerr=whiskers(mine.share, mine.low, mine.high),
            fmt=f"{MARKERS[kind]}-",
            **{"ms": 3.5, "lw": 1, "elinewidth": 0.7, "color": COLORS[kind], "label": kind},
        )
    control = table[table.measure == BESIDE.get(measure, "")]
    if len(control):
        pooled = control.groupby(by)[["found", "of"]].sum()
        share = pooled.found / pooled.of
        label = "control: labels shuffled (A), random weights (C, D)"
        panel.plot(np.log2(pooled.index), share, "x:", ms=4, lw=1, color="#555555", label=label)
    chance = float(table[table.measure == measure].chance.max())
    panel.axhline(chance, color="#000000", lw=0.6, ls=(0, (4, 3)), label="chance")
    panel.set(ylim=(-0.03, 1.03), yticks=np.linspace(0, 1, 5))
    words = [
        f"{value:.0f}\n({below:{'.2f' if by == 'counts' else '.0f'}})"
        for value, below in marks.to_numpy()
    ]
    panel.set_xticks(at, words, fontsize=6.5)


# The run -----------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """Of this process and of those it waited for."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def kept(folder: Path, world: World) -> Path:
    """Where a finished world's rows are; another name for other settings."""
    asked = json.dumps([world.grade, world.seed, world.data, world.asked, STAGES], sort_keys=True)
    return folder / f"{world.name}_{hashlib.sha256(asked.encode()).hexdigest()[:8]}.csv"


def run_grid(folder: Path, grid: list[World]) -> None:
    """Run the worlds that are not finished, one after the other."""
    left = [world for world in grid if not kept(folder, world).exists()]
    print(f"{len(grid) - len(left)} of {len(grid)} worlds are finished", flush=True)
    for world in progress(left, "worlds", total=len(left), unit="world"):
        root, begun = folder / world.name, cpu_seconds()
        found = run_world(root, world)
        used = cpu_seconds() - begun
        write_csv(kept(folder, world), found.assign(seed=world.seed, cpu_s=used))
        shutil.rmtree(root)
        print(f"{world.name}: {used:.1f} CPU-s", flush=True)


def main() -> None:
    """Run what is not finished; write the table and the figure of all that is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, help="where finished worlds are kept")
    parser.add_argument("--steps", type=float, nargs="*", default=STEPS)
    parser.add_argument("--trainings", type=int, nargs="*", default=TRAININGS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--only-draw", action="store_true", help="run no world")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--figure", type=Path, default=FIGURE)
    given = parser.parse_args()
    grid = worlds(given.steps, given.trainings, given.seeds)
    given.folder.mkdir(parents=True, exist_ok=True)
    if not given.only_draw:
        run_grid(given.folder, grid)
    files = {world: kept(given.folder, world) for world in grid}
    done = [
        pd.read_csv(file).assign(**world.columns) for world, file in files.items() if file.exists()
    ]
    if not done:
        raise SystemExit("no world is finished")
    total = sum(float(one.cpu_s.iloc[0]) for one in done)
    print(f"{len(done)} of {len(grid)} worlds, {total:.0f} CPU-s")
    table = summarized(pd.concat(done, ignore_index=True)).round(DIGITS)
    given.table.parent.mkdir(parents=True, exist_ok=True)
    write_csv(given.table, table)
    draw(table, given.figure)
    shown = {"index": ["measure", "kind"], "columns": ["steps", "counts"], "values": "share"}
    print(table.pivot_table(**shown).round(2).to_string())


if __name__ == "__main__":
    main()
