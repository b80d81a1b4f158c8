"""Stage perturbation: what knock-downs do to the codes, whether the features that respond are those
of known regulons, what the models predict of knock-downs, and what the data themselves show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.contrast.results import adjust
from petriscope.device import choose_device
from petriscope.files import atomic_folder, write_csv, write_not_run, write_parquet
from petriscope.parallel import in_processes
from petriscope.run.params import chosen_layer
from petriscope.run.workspace import Workspace
from petriscope.studies.cells.branches import Branch, branches
from petriscope.studies.cells.catalog import SPLITS, published_catalog, symbols
from petriscope.studies.cells.ceiling import (
    Ceiling,
    Moved,
    ceiling,
    ceiling_table,
    log_normalized,
    moved_genes,
)
from petriscope.studies.cells.counts import load_cells
from petriscope.studies.cells.cycle import CycleNumbers, cell_cycle
from petriscope.studies.cells.data.cells import Cells
from petriscope.studies.cells.data.dataset import load_dataset
from petriscope.studies.cells.inputs import load_inputs
from petriscope.studies.cells.knockdown import (
    HOW,
    Agreement,
    Fall,
    Virtual,
    agreement,
    correlation_predictor,
    count_falls,
    falls,
    in_silico,
)
from petriscope.studies.cells.model.weights import load_checkpoint
from petriscope.studies.cells.params import Params
from petriscope.studies.cells.perturbation import (
    Baseline,
    Chance,
    Cohort,
    PublishedResponse,
    cohort,
    own_feature,
    published_chance,
    published_responses,
    responses_at_targets,
)
from petriscope.studies.cells.regulation import Regulation, more_specific, verdict
from petriscope.studies.cells.regulons import (
    Asked,
    Material,
    Regulon,
    Responded,
    degrees,
    directed,
    exact_share,
    planted_power,
    regulons_of,
    respond,
    why_no_regulons,
)

PUBLISHED_CELLS = 20
"""cells of a target whose positions were pooled, as published"""
TRIES = 40
"""planted regulons of each size"""
SCALE = 1e4
"""counts to which every cell's are scaled before the logarithm"""


@dataclass(frozen=True)
class ModelPerturbation:
    """One model, trained or random."""

    layer: int
    tested: int
    """features that fire in enough control cells"""
    pairs: int
    """(target, feature) pairs with q below alpha: one family"""
    responding_tfs: int
    at_targets: int
    """such pairs where means are taken over the known targets' positions alone"""
    own_falls: int
    """targets whose own feature falls (q below alpha), of ``own_tested``"""
    own_tested: int
    published: dict[str, float]
    """TFs with a specific response by the published rule, and what random features give"""
    largest_published: float
    """largest published effect, standard deviations of control positions"""
    largest_firings: int
    """firings on control positions of the feature that has it"""
    specific: int
    specific_low: float
    specific_high: float
    tfs: int
    chance: float
    """TFs with p below alpha by chance"""
    nominal: int
    power: float | None
    """of the largest planted regulon"""
    power_by_size: dict[str, float]
    falls: dict[str, Any]
    """C, tokens moved to where genes of least expression stand"""
    falls_deleted: dict[str, Any]
    """C, tokens taken out"""
    agreement: float | None
    """D: mean correlation of predicted with observed change, less that with other TFs'"""
    agreement_p: float | None
    agreement_rank: float | None
    """mean rank of the own observed change"""
    agreement_deleted_p: float | None
    regulation: dict[str, Any] | None = None
    """of a trained model: what the verdict is made of"""


@dataclass(frozen=True)
class PerturbationNumbers:
    """Knock-downs, over the models that ran."""

    untestable: str | None
    models: dict[str, ModelPerturbation] | None = None
    targets: int | None = None
    control_cells: int | None = None
    regulons: int | None = None
    """knocked-down TFs with enough known targets"""
    cycle: CycleNumbers | None = None
    """the cell cycle as a covariate of A"""
    ceiling: Ceiling | None = None
    correlation: float | None = None
    """D of a plain-correlation predictor"""
    correlation_p: float | None = None
    reasons: dict[str, str] | None = None
    judged: int | None = None
    exceeding: int | None = None
    """trained models that show regulatory logic"""
    power: float | None = None
    """lowest over the trained models that can be judged"""


class Ground(NamedTuple):
    """What all models share."""

    cells: Cells
    names: list[str]
    who: Cohort
    regulons: list[Regulon]
    degree: np.ndarray
    moved: Moved
    expression: sp.csr_matrix
    scored: np.ndarray
    """bool (n,): cells of the first tissue that were not perturbed"""
    cycle: CycleNumbers


class Measured(NamedTuple):
    """One branch."""

    responded: Responded
    numbers: dict[str, Any]
    tables: dict[str, pd.DataFrame]


def run(workspace: Workspace, params: Params) -> PerturbationNumbers:
    """Write results/perturbation/: responses.parquet (a row per model, target and tested feature),
    own.csv, published.csv, regulons.csv, power.csv, knockdowns.csv, agreement.csv, ceiling.csv and
    counts.csv (chance, ceiling and models side by side)."""
    out, ground = workspace.table("perturbation"), prepare(workspace, params)
    if isinstance(ground, str):
        write_not_run(out, ground)
        return PerturbationNumbers(untestable=ground)
    given, alpha = params.perturbation, params.cds.alpha
    detected = np.asarray((ground.cells.counts > 0).mean(0)).ravel()
    shown = ceiling_table(
        ground.moved,
        ground.regulons,
        np.column_stack([detected, ground.degree]),
        detected > 0,
        expression=ground.expression,
        who=ground.who,
        draws=given.random_regulons,
        alpha=alpha,
        seed=params.seed,
    )
    top = ceiling(shown, alpha)
    probed = branches(workspace, params)

    def one(branch: Branch) -> Measured:
        return measure(workspace, params, branch, ground)

    found = in_processes(one, probed, "knock-downs", unit="model")
    measured = {branch.name: made for branch, made in zip(probed, found)}
    plain = _plain(ground, params)
    trained = [branch.name for branch in probed if branch.trained]
    judged = {name: _regulation(measured, name, top.shown, alpha) for name in trained}
    said = verdict(judged)
    models = {
        name: ModelPerturbation(
            **one.numbers,
            regulation=_parts(judged[name]) if name in judged else None,
        )
        for name, one in measured.items()
    }
    tables = _joined(measured)
    if plain is not None:
        tables["agreement"] = pd.concat(
            [tables["agreement"], _agreement_rows(plain, "data", True, "correlation")]
        )
    with atomic_folder(out) as folder:
        write_parquet(folder / "responses.parquet", tables.pop("responses"))
        for name, frame in tables.items():
            write_csv(folder / f"{name}.csv", frame)
        write_csv(folder / "ceiling.csv", shown)
        write_csv(folder / "counts.csv", counts_table(models, top))
    powers = [one.power for one in judged.values() if one.untestable is None]
    return PerturbationNumbers(
        untestable=said.untestable,
        models=models,
        targets=len(ground.who.targets),
        control_cells=len(ground.who.control),
        regulons=len(ground.regulons),
        cycle=ground.cycle,
        ceiling=top,
        correlation=None if plain is None else plain.excess,
        correlation_p=None if plain is None else plain.p,
        reasons=said.reasons,
        judged=said.judged,
        exceeding=said.exceeding,
        power=None if None in powers or not powers else min(p for p in powers if p is not None),
    )


def prepare(workspace: Workspace, params: Params) -> Ground | str:
    """Cells, targets and regulons, or why nothing can be tested."""
    cells = load_cells(workspace)
    data = load_dataset(workspace.dataset(params.dataset))
    if data.control is None:
        return "the data set names no perturbation (dataset.yaml: columns.target and control)"
    split = cells.obs.split.astype(str).to_numpy()
    who = cohort(
        cells.obs,
        data.control,
        min_cells=params.perturbation.min_cells,
        cells=split != "second",
    )
    if isinstance(who, str):
        return who
    names, given = symbols(cells.genes), data.networks()
    networks = directed(given)
    who = who._replace(targets=tuple(name.upper() for name in who.targets))
    regulons = regulons_of(networks, names, who.targets)
    if not regulons:
        return why_no_regulons(given)
    expression = log_normalized(cells.counts, cells.obs.n_counts.to_numpy(np.float64), SCALE)
    cycle = cell_cycle(expression, names, who.targets)
    who = who._replace(covariates=np.column_stack([who.covariates, cycle.scores]))
    moved = moved_genes(expression, who)
    scored = np.isin(split, SPLITS)
    degree = degrees(networks, names)
    return Ground(cells, names, who, regulons, degree, moved, expression, scored, cycle.numbers)


def asked_of(params: Params) -> Asked:
    """What params.yaml asks of the tests."""
    given = params.perturbation
    return Asked(
        params.catalog.min_fires,
        params.catalog.min_tokens,
        given.min_control_firing_cells,
        given.random_regulons,
        params.cds.alpha,
        params.seed,
    )


def measure(workspace: Workspace, params: Params, branch: Branch, ground: Ground) -> Measured:
    """A, B, C and D of one branch."""
    device, asked, alpha = choose_device(params.device), asked_of(params), params.cds.alpha
    model = load_checkpoint(branch.model).to(device).eval()
    layer = chosen_layer(params.layer, model.n_layers, "layer")
    material = Material(
        branch.encoded(layer).codes(),
        branch.places().gene.to_numpy(np.int64),
        branch.tokens().window.astype(np.int64),
    )
    who, regulons = ground.who, ground.regulons
    found = respond(material, who, ground.scored, regulons, ground.degree, asked)
    genes_of = {one.name: one.genes for one in regulons}
    local = responses_at_targets(
        material.codes,
        material.cell,
        material.gene,
        who,
        genes_of,
        min_control_firing=asked.min_control_firing,
    )
    power = planted_power(
        material, found, who, regulons, asked, sizes=params.perturbation.planted, tries=TRIES
    )
    own = _own(ground, found, alpha)
    published, chance = _published(ground, material, found, params)
    inputs = load_inputs(workspace, params, branch.family)
    virtual = Virtual(
        inputs.encoded,
        inputs.padding,
        who.control,
        params.perturbation.cells,
        params.causal.mask_fold,
        len(ground.names),
        branch.family == "scgpt",
        params.seed,
    )
    place = {name: row for row, name in enumerate(ground.names)}
    tfs = [(name, place[name]) for name in who.targets if name in place]
    fallen: dict[str, list[Fall]] = {}
    agreed: dict[str, Agreement | None] = {}
    for how in HOW:
        predicted = in_silico(model, virtual, tfs, how)
        many = {"draws": params.perturbation.random_regulons, "seed": params.seed}
        fallen[how] = falls(predicted, regulons, found.axes, found.usable, **many)
        rows = [who.targets.index(name) for name in predicted.names]
        agreed[how] = agreement(
            predicted.names,
            predicted.change,
            ground.moved.t[rows],
            predicted.tf,
            found.usable,
            **many,
        )
    lowest, deleted = (agreed[how] for how in HOW)
    count = found.count
    effects = [float(np.abs(one.effect).max()) for one in published]
    most = int(np.argmax(effects)) if effects else 0
    feature = int(np.abs(published[most].effect).argmax()) if effects else 0
    control = np.isin(material.cell, who.control) & (material.gene >= 0)
    firings = int((material.codes.scipy()[np.flatnonzero(control)][:, [feature]] > 0).sum())
    biggest = power.power.to_numpy(np.float64)
    known = len(biggest) > 0 and np.isfinite(biggest[-1])
    numbers: dict[str, Any] = {
        "layer": layer,
        "tested": int(found.responses.tested.sum()),
        "pairs": int((found.responses.q < alpha).sum()),
        "responding_tfs": count.responding_tfs,
        "at_targets": int((local.q < alpha).sum()),
        "own_falls": int(((own.t < 0) & (own.q < alpha)).sum()),
        "own_tested": len(own),
        "published": chance._asdict(),
        "largest_published": effects[most] if effects else 0.0,
        "largest_firings": firings,
        "specific": count.specific,
        "specific_low": count.low,
        "specific_high": count.high,
        "tfs": count.tfs,
        "chance": count.chance,
        "nominal": count.nominal,
        "power": float(biggest[-1]) if known else None,
        "power_by_size": {
            str(int(g)): float(p) for g, p in zip(power.genes, biggest) if np.isfinite(p)
        },
        "falls": asdict(count_falls(fallen["lowest"], alpha)),
        "falls_deleted": asdict(count_falls(fallen["deleted"], alpha)),
        "agreement": None if lowest is None else lowest.excess,
        "agreement_p": None if lowest is None else lowest.p,
        "agreement_rank": None if lowest is None else float(lowest.rank.mean()),
        "agreement_deleted_p": None if deleted is None else deleted.p,
    }
    tables = {
        "responses": _response_rows(found),
        "own": own,
        "published": _published_rows(published, ground),
        "regulons": _regulon_rows(found),
        "power": power,
        "knockdowns": pd.concat(
            [pd.DataFrame([one._asdict() for one in fallen[how]]).assign(how=how) for how in HOW],
            ignore_index=True,
        ),
        "agreement": pd.concat(
            [
                _agreement_rows(one, branch.family, branch.trained, how)
                for how, one in agreed.items()
                if one is not None
            ]
            or [pd.DataFrame()],
            ignore_index=True,
        ),
    }
    of = {"model": branch.family, "trained": branch.trained}
    tables = {
        name: frame if name == "agreement" else frame.assign(**of) for name, frame in tables.items()
    }
    return Measured(found, numbers, tables)


def _regulation(
    measured: Mapping[str, Measured], name: str, shown: int, alpha: float
) -> Regulation:
    mine, random = measured[name], measured.get(f"{name} random")
    return Regulation(
        mine.numbers["power"],
        shown,
        mine.numbers["specific"],
        None if random is None else random.numbers["specific"],
        None
        if random is None
        else more_specific(mine.responded.specific, random.responded.specific, alpha),
        mine.numbers["agreement_p"],
        alpha,
    )


def _parts(one: Regulation) -> dict[str, Any]:
    named = ("untestable", "responds", "predicts", "minimal")
    return asdict(one) | {name: getattr(one, name) for name in named}


def _plain(ground: Ground, params: Params) -> Agreement | None:
    place = {name: row for row, name in enumerate(ground.names)}
    rows = [i for i, name in enumerate(ground.who.targets) if name in place]
    tf = np.array([place[ground.who.targets[i]] for i in rows], np.int64)
    return agreement(
        [ground.who.targets[i] for i in rows],
        correlation_predictor(ground.expression, ground.who.control, tf),
        ground.moved.t[rows],
        tf,
        np.asarray(ground.cells.counts.sum(0)).ravel() > 0,
        draws=params.perturbation.random_regulons,
        seed=params.seed,
    )


def _own(ground: Ground, found: Responded, alpha: float) -> pd.DataFrame:
    """The feature of each target's own gene: columns target, feature, t, q."""
    place = {name: row for row, name in enumerate(ground.names)}
    shares, rows = sp.csc_matrix(found.shares), []
    for row, name in enumerate(ground.who.targets):
        if name in place:
            feature = own_feature(shares, place[name], found.responses.tested)
            if feature is not None:
                t, q = found.responses.t[row, feature], found.responses.q[row, feature]
                rows.append({"target": name, "feature": feature, "t": float(t), "q": float(q)})
    return pd.DataFrame(rows, columns=["target", "feature", "t", "q"])


def _published(
    ground: Ground, material: Material, found: Responded, params: Params
) -> tuple[list[PublishedResponse], Chance]:
    """The published rule on these codes: control positions, 20 cells a target."""
    rng, who = np.random.default_rng(params.seed), ground.who
    real, matrix = material.gene >= 0, material.codes.scipy()

    def of(cells: np.ndarray) -> Any:
        rows = np.flatnonzero(real & np.isin(material.cell, cells))
        part = matrix[rows]
        kind = type(material.codes)
        return kind(part.indptr.astype(np.int64), part.indices, part.data, material.codes.m)

    perturbed = {}
    for row, name in enumerate(who.targets, start=1):
        cells = np.flatnonzero(who.group == row)
        perturbed[name] = of(rng.permutation(cells)[:PUBLISHED_CELLS])
    lists = published_catalog(found.table, params.catalog.genes).lists
    top: dict[int, set[str]] = {}
    for feature, gene in zip(lists.feature, lists.gene):
        top.setdefault(int(feature), set()).add(ground.names[gene])
    known = {one.name: {ground.names[gene] for gene in one.genes} for one in ground.regulons}
    baseline = Baseline.of(of(who.control))
    responses = published_responses(baseline, perturbed, top, known)
    alive = np.flatnonzero(baseline.frequency > 0)
    draws = params.perturbation.random_regulons
    return responses, published_chance(responses, top, known, alive, draws=draws, seed=params.seed)


def _response_rows(found: Responded) -> pd.DataFrame:
    tested = np.isfinite(found.responses.p)
    target, feature = np.nonzero(tested)
    columns = {"target": np.array(found.responses.targets, object)[target], "feature": feature}
    for name in ("estimate", "t", "p", "q"):
        columns[name] = getattr(found.responses, name)[tested]
    return pd.DataFrame(columns)


def _published_rows(published: list[PublishedResponse], ground: Ground) -> pd.DataFrame:
    tfs = {one.name for one in ground.regulons}
    return pd.DataFrame(
        {
            "target": one.target,
            "tf": one.target in tfs,
            "positions": one.positions,
            "responding": len(one.responding),
            "specific": one.specific,
            "largest": float(np.abs(one.effect).max()),
            "feature": int(np.abs(one.effect).argmax()),
        }
        for one in published
    )


def _regulon_rows(found: Responded) -> pd.DataFrame:
    frame = pd.DataFrame([one._asdict() for one in found.specific])
    p = frame.p.to_numpy(np.float64) if len(frame) else np.zeros(0)
    return frame.assign(q=adjust(p, "bh"))


def _agreement_rows(found: Agreement, model: str, trained: bool, how: str) -> pd.DataFrame:
    n = len(found.own)
    others = (found.matrix.sum(1) - found.own) / max(1, n - 1)
    columns = {"target": found.names, "own": found.own, "others": others, "rank": found.rank}
    return pd.DataFrame(columns).assign(of=n, model=model, trained=trained, how=how)


def _joined(measured: Mapping[str, Measured]) -> dict[str, pd.DataFrame]:
    names = next(iter(measured.values())).tables
    return {
        name: pd.concat([one.tables[name] for one in measured.values()], ignore_index=True)
        for name in names
    }


def counts_table(models: Mapping[str, ModelPerturbation], top: Ceiling) -> pd.DataFrame:
    """Chance, ceiling and models side by side: columns measure, model, found, of, low, high."""
    rows: list[dict[str, Any]] = []

    def add(measure: str, model: str, found: float, of: int, limits: tuple[float, float]) -> None:
        low, high = limits
        rows.append(
            {"measure": measure, "model": model, "found": found, "of": of, "low": low, "high": high}
        )

    def exact(k: int, n: int) -> tuple[float, float]:
        share = exact_share(k, n)
        return share.low * n, share.high * n

    add("data ceiling", "data", top.shown, top.tfs, exact(top.shown, top.tfs))
    for name, one in models.items():
        rule = one.published
        limits = (rule["low"], rule["high"])
        add("published rule, random features", name, rule["expected"], int(rule["tfs"]), limits)
        found = int(rule["found"])
        add("published rule", name, found, int(rule["tfs"]), exact(found, int(rule["tfs"])))
        add("responding features", name, one.specific, one.tfs, exact(one.specific, one.tfs))
        fallen = one.falls
        add(
            "in silico", name, fallen["found"], fallen["tfs"], exact(fallen["found"], fallen["tfs"])
        )
    return pd.DataFrame(rows)
