"""How much do the verdicts of study cells owe to the one draw that a run takes?

`python benchmarks/cells_spread.py WORKSPACE SCRATCH` takes a finished run whose probed model is
Geneformer, and repeats the stages that read what was drawn:

- initializations: the random controls with other random weights (`controls.initialization`);
- draws: scGPT's cells with ties among bins broken anew, and other genes where a cell is longer than
  the model takes. The model and its dictionaries stay, as do those of the random control: what moves
  is what the input's randomness moves.

SCRATCH/claims.csv holds each claim's verdict and the numbers that its rule reads, a row per
repetition; the first of either kind is the run itself. SCRATCH/draws.csv says how far a second draw
moves the hidden-bin error, the features, and which of them respond to knock-downs (A) and name the
regulon (B). A finished repetition is not run again; `--without-stages` makes draws.csv alone.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # before any of them is loaded

import numpy as np
import pandas as pd

from petriscope.claims.rules import evaluate, names, read_rules, stages_of
from petriscope.files import plain, read_json, write_csv, write_json
from petriscope.probe.harvest import harvest_layers, open_layers
from petriscope.probe.tokens import split_rows
from petriscope.run.params import chosen_layer, load_params
from petriscope.run.stage import as_metrics, set_threads
from petriscope.run.workspace import Workspace
from petriscope.sae.encode import EncodedLayer
from petriscope.studies.cells import inputs as cell_inputs
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.counts import spread
from petriscope.studies.cells.inputs import load_inputs, save_axis
from petriscope.studies.cells.model.bin_tokens import bin_tokens
from petriscope.studies.cells.model.pretrain import hidden_genes
from petriscope.studies.cells.model.weights import load_checkpoint
from petriscope.studies.cells.params import Params
from petriscope.studies.cells.perturbation import CellMeans, cell_means
from petriscope.studies.cells.regulons import Material, respond
from petriscope.studies.cells.stages.model import HELD_OUT, MOST
from petriscope.studies.cells.stages.perturbation import asked_of, prepare

STAGES = [
    "svd",
    "catalog",
    "annotate",
    "modules",
    "novel",
    "highways",
    "persistence",
    "crossmodel",
    "causal",
    "celltypes",
    "perturbation",
    "tissue",
]
"""that compare with random controls, or read scGPT's codes; in the order of the graph"""
FAMILY = "scgpt"


class Repetition(NamedTuple):
    """A run with one thing drawn anew."""

    kind: str
    number: int

    @property
    def name(self) -> str:
        """Its folder."""
        return f"{self.kind}_{self.number}"


def copied(source: Workspace, root: Path) -> Workspace:
    """The finished run, its results linked: stages replace files and folders, never write into
    them."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for name in ("params.yaml", "claims.yaml", "dvc.yaml"):
        shutil.copy(source.root / name, root / name)
    shutil.copytree(source.results, root / "results", copy_function=os.link)
    return Workspace(root)


@contextlib.contextmanager
def drawn(draw: int) -> Iterator[None]:
    """Everything that encodes cells for scGPT takes this draw."""

    def tokens(cells: Any, known: Any, bins: int, most: int, seed: int, _: int, **rest: Any) -> Any:
        return bin_tokens(cells, known, bins, most, seed, draw, **rest)

    with mock.patch.object(cell_inputs, "bin_tokens", tokens):
        yield


def encoded_again(workspace: Workspace, params: Params, branch: Branch) -> None:
    """Streams and codes of the draw that is in force, by the branch's own model and
    dictionaries."""
    model, inputs = load_checkpoint(branch.model).eval(), load_inputs(workspace, params, FAMILY)
    layers = branch.layers()
    for folder in (branch.activations, branch.codes):
        shutil.rmtree(folder)
    branch.activations.mkdir()
    harvest_layers(model, inputs, range(len(inputs)), layers, branch.activations, what=branch.name)
    save_axis(inputs, branch.activations)
    stores = open_layers(branch.activations)
    for layer in layers:
        sae, at = branch.dictionary(layer, params.sae.seeds[0]), branch.codes / f"layer_{layer}"
        EncodedLayer.write(at, sae, stores[layer], inputs.tokens, params.codes.top_bins)


def means_of(branch: Branch, layer: int) -> CellMeans:
    """Of each feature over the genes of each cell."""
    codes, cell = branch.encoded(layer).codes(), branch.tokens().window.astype(np.int64)
    rows = branch.places().gene.to_numpy() >= 0
    return cell_means(codes, cell, int(cell.max()) + 1, rows)


def moved(workspace: Workspace, params: Params, before: Branch, after: Branch) -> pd.DataFrame:
    """A row per layer: columns layer, alive, variance_share (median over alive features: variance
    of a test cell's mean activation between two draws, over that between cells), correlation
    (median, of cell means of one draw with the other's), fires_on_both (share of the firings on
    tokens which both draws have that are firings in the other too) and tokens (of those that either
    has, share that both have)."""
    test = split_rows(load_inputs(workspace, params, FAMILY).tokens.windows, HELD_OUT)
    keys = []
    for branch in (before, after):
        gene, cell = branch.places().gene.to_numpy(), branch.tokens().window.astype(np.int64)
        rows = np.flatnonzero((gene >= 0) & np.isin(cell, test))
        keys.append((cell[rows] * (gene.max() + 1) + gene[rows], rows))
    shared, one, other = np.intersect1d(keys[0][0], keys[1][0], return_indices=True)
    rows = [keys[0][1][one], keys[1][1][other]]
    either = len(np.union1d(keys[0][0], keys[1][0]))
    found = []
    for layer in before.layers()[1:]:
        first, second = (
            means_of(branch, layer).means[test].toarray() for branch in (before, after)
        )
        fires = [
            branch.encoded(layer).codes().scipy()[at] > 0
            for branch, at in zip((before, after), rows, strict=True)
        ]
        alive = np.asarray(fires[0].sum(0)).ravel() >= params.cds.min_events
        between = ((first - second) ** 2).mean(0) / 2
        within = (first.var(0, ddof=1) + second.var(0, ddof=1)) / 2
        r = [np.corrcoef(first[:, f], second[:, f])[0, 1] for f in np.flatnonzero(alive)]
        both, all_fires = (
            int((fires[0][:, alive].multiply(fires[1][:, alive])).sum()),
            [int(one[:, alive].sum()) for one in fires],
        )
        found.append(
            {
                "layer": layer,
                "alive": int(alive.sum()),
                "variance_share": float(np.median(between[alive] / within[alive])),
                "correlation": float(np.median(r)),
                "fires_on_both": 2 * both / sum(all_fires),
                "tokens": len(shared) / either,
            }
        )
    return pd.DataFrame(found)


def responding(workspace: Workspace, params: Params, branch: Branch) -> dict[str, int]:
    """Pairs of a knock-down and a feature that respond (A), and TFs whose responding features name
    their regulon (B), as stage perturbation counts them; empty where nothing can be tested."""
    ground = prepare(workspace, params)
    if isinstance(ground, str):
        return {}
    layer = chosen_layer(params.layer, max(branch.layers()), "layer")
    gene, cell = (
        branch.places().gene.to_numpy(np.int64),
        branch.tokens().window.astype(np.int64),
    )
    material = Material(branch.encoded(layer).codes(), gene, cell)
    given = (ground.who, ground.scored, ground.regulons, ground.degree, asked_of(params))
    found = respond(material, *given)
    pairs = int((found.responses.q < params.cds.alpha).sum())
    return {"pairs": pairs, "specific": found.count.specific, "tfs": found.count.tfs}


def hidden_error(workspace: Workspace, params: Params) -> float:
    """scGPT's squared error of a hidden bin, as stage model measures it, in the draw in force."""
    inputs = load_inputs(workspace, params, FAMILY)
    held = spread(split_rows(inputs.tokens.windows, HELD_OUT), MOST)
    model = load_checkpoint(workspace.model / FAMILY).eval()
    how = {"share": params.scgpt.mask, "seed": params.seed}
    found = hidden_genes(model, inputs.encoded, held, inputs.padding, **how)
    return float(((found.predicted - found.bin).astype(float) ** 2).mean())


def stage_metrics(workspace: Workspace, params: Params, stages: Sequence[str]) -> dict[str, Any]:
    """What these stages measure now."""
    found = {}
    for name in stages:
        body = importlib.import_module(workspace.study.stage(name))
        found[name] = plain(as_metrics(body.run(workspace, params)))
    return found


def repeated(
    source: Workspace, scratch: Path, params: Params, one: Repetition, stages: bool
) -> None:
    """Run one repetition; its metrics go to SCRATCH/NAME.json, the folder of its run is removed."""
    workspace = copied(source, scratch / "run")
    if one.kind == "initialization":
        controls = dataclasses.replace(params.controls, initialization=one.number)
        params = dataclasses.replace(params, controls=controls)
        found = stage_metrics(workspace, params, ["random_init", *STAGES])
    else:
        with drawn(one.number):
            mine = [b for b in branches(workspace, params) if b.family == FAMILY]
            mine = mine if stages else mine[:1]
            for branch in mine:
                encoded_again(workspace, params, branch)
            error = hidden_error(workspace, params)
            before = next(b for b in branches(source, params) if b.name == FAMILY)
            after = next(b for b in mine if b.trained)
            table = moved(workspace, params, before, after)
            table = table.assign(draw=one.number, error=error)
            table = table.assign(**responding(workspace, params, after))
            write_csv(scratch / f"moved_{one.number}.csv", table)
            found = stage_metrics(workspace, params, STAGES) if stages else {}
    write_json(scratch / f"{one.name}.json", found)
    shutil.rmtree(scratch / "run")


def claim_rows(source: Workspace, scratch: Path, all_of: Sequence[Repetition]) -> pd.DataFrame:
    """Columns kind, number, claim, verdict, metric and value: what each rule reads."""
    rules, rows = read_rules(source.claims_rules), []
    stages = dict.fromkeys(stage for rule in rules for stage in stages_of(rule))
    base = {stage: read_json(source.metrics(stage)) for stage in stages}
    for one in all_of:
        metrics = base | (read_json(scratch / f"{one.name}.json") if one.number else {})
        for claim, rule in zip(evaluate(rules, metrics), rules, strict=True):
            for name in names(rule["rule"]):
                value: Any = metrics
                for part in name.split("."):
                    value = None if value is None else value.get(part)
                if not isinstance(value, bool):
                    of = {"kind": one.kind, "number": one.number, "claim": claim.id}
                    rows.append({**of, "verdict": claim.verdict, "metric": name, "value": value})
    return pd.DataFrame(rows)


def told(table: pd.DataFrame) -> str:
    """A line per kind, claim and metric: the run's own value, and the range of the others."""
    lines = []
    for (kind, claim, metric), part in table.groupby(["kind", "claim", "metric"], sort=False):
        own, others = part[part.number == 0], part[part.number > 0]
        verdicts = " / ".join(f"{n} {v}" for v, n in part.verdict.value_counts().items())
        known = others.value.dropna().astype(float)
        between = f"{known.min():+.3f} to {known.max():+.3f}" if len(known) else "-"
        value = own.value.iloc[0]
        shown = "-" if value is None or pd.isna(value) else f"{float(value):+.3f}"
        lines.append(f"{kind}: {claim} {metric} {shown}, others {between}; {verdicts}")
    return "\n".join(lines)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("--initializations", type=int, default=5, help="the run's own included")
    parser.add_argument("--draws", type=int, default=3, help="the run's own included")
    parser.add_argument("--without-stages", action="store_true")
    given = parser.parse_args()
    source = Workspace(given.workspace.resolve())
    params: Params = load_params(source.params)
    params = dataclasses.replace(params, dataset=str(source.dataset(params.dataset).resolve()))
    if params.family == FAMILY:
        parser.error(f"the run's family is {FAMILY}; its codes must be those of stage second")
    set_threads()
    given.scratch.mkdir(parents=True, exist_ok=True)
    kinds = {"initialization": given.initializations, "draw": given.draws}
    all_of = [Repetition(kind, i) for kind, count in kinds.items() for i in range(count)]
    for one in all_of:
        if one.number and not (given.scratch / f"{one.name}.json").is_file():
            repeated(source, given.scratch, params, one, not given.without_stages)
    draws = [one for one in all_of if one.kind == "draw" and one.number]
    if draws:
        table = pd.concat(
            [pd.read_csv(given.scratch / f"moved_{one.number}.csv") for one in draws],
            ignore_index=True,
        )
        write_csv(given.scratch / "draws.csv", table)
        print(
            f"hidden-bin error of the run's own draw: {read_json(source.metrics('model'))['mse']}"
        )
        print(table.to_string(index=False))
    if given.without_stages:
        return 0
    table = claim_rows(source, given.scratch, all_of)
    write_csv(given.scratch / "claims.csv", table)
    print(told(table))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
