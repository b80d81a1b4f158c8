"""What the authors' own scripts made of a small simulated world is computed again from the same
inputs (bio-sae 51115934, scripts 03 to 11, run unmodified but for paths and sizes): catalog, axes,
annotations, co-activation, modules, highways, tracking, patching, knock-downs, novel clusters, cell
types.

A fixture is an .npz with the inputs and a .json.gz of the same name beside it with their results.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from petriscope.errors import UserError
from petriscope.run.fixtures import RESULTS, Compared, FixtureKind, worst
from petriscope.textfile import text_lines

if TYPE_CHECKING:
    from petriscope.sae.codes import Codes
    from petriscope.studies.cells.gene_table import GeneTable
    from petriscope.studies.cells.model.geneformer import Geneformer

ALPHA = 0.05
"""of the authors' scripts"""
SPECIAL = 4
"""Token ids before the first gene."""
CLS, EOS = 2, 3
SEED, CELLS, CONTROLS = 42, 20, 60
"""Of their draws: the seed, cells of a knock-down, control cells of the harvest."""
SEEDS = 5
"""of our Leiden, whose draws are not theirs: the best partition counts"""
PMI, COSINE, TAIL, LOGIT, MODULARITY = 1e-9, 1e-6, 1e-11, 1e-4, 1e-3
"""Largest errors: of PMI (bits), of cosines, of p (relative), of changes of a logit, and by how
much a partition's modularity may be below theirs."""
SUMS, EFFECT = 2e-4, 2e-3
"""Largest relative errors of means over float32 activations, and of effects and ratios of them."""
COLLECTIONS = {"GO_BP": "go_bp", "KEGG": "kegg", "Reactome": "reactome"}
NETWORKS = {"STRING_edges": "string", "TRRUST_edges": "trrust"}


class World:
    """The inputs and the authors' results."""

    def __init__(self, path: Path, arrays: Mapping[str, Any], results: Mapping[str, Any]) -> None:
        self.path, self.arrays, self.results = path, arrays, results
        self.codes = cache(self._codes)
        self.table = cache(self._table)

    @property
    def layers(self) -> range:
        return range(int(self.results["world"]["L"]))

    @property
    def genes(self) -> list[str]:
        return list(self.results["world"]["genes"])

    def decoder(self, layer: int) -> np.ndarray:
        """(F, d)."""
        return np.asarray(self.arrays[f"sae_{layer}/W_dec.weight"]).T

    def encode(self, layer: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Their dictionary (sae_model.py): activations (n, F), and bool which k are chosen, those
        whose activation is 0 too."""
        at = f"sae_{layer}/W_enc"
        weight, bias = self.arrays[f"{at}.weight"], self.arrays[f"{at}.bias"]
        hidden = (rows - self.arrays[f"mean_{layer}"]) @ weight.T + bias
        k = int(self.results["world"]["k"])
        best = np.argpartition(-hidden, k - 1, axis=1)[:, :k]
        chosen = np.zeros(hidden.shape, bool)
        np.put_along_axis(chosen, best, True, 1)
        return np.where(chosen, np.maximum(hidden, 0), 0).astype(np.float32), chosen

    def _codes(self, layer: int, zeros: bool = False) -> Codes:
        """Of the harvested positions; with ``zeros`` all k entries of each."""
        z, chosen = self.encode(layer, self.arrays[f"acts_{layer}"])
        return as_codes(z, chosen if zeros else z > 0)

    def _table(self, layer: int) -> GeneTable:
        from petriscope.studies.cells.gene_table import gene_table

        gene = self.arrays["gene_ids"].astype(np.int64) - SPECIAL
        return gene_table(self.codes(layer), gene, len(self.genes))

    def alive(self, layer: int) -> np.ndarray:
        """bool (F,)."""
        return np.asarray(self.table(layer).counts > 0)

    @property
    def model(self) -> Geneformer:
        """Their BERT."""
        import torch

        from petriscope.studies.cells.model.weights import geneformer_of

        weights = {
            name.removeprefix("bert/"): torch.from_numpy(np.asarray(array))
            for name, array in self.arrays.items()
            if name.startswith("bert/")
        }
        return geneformer_of(self.results["bert_config"], weights, file=self.path).eval()

    def ids(self, cell: int) -> np.ndarray:
        """Token ids of a cell as they made them: log1p before the median, cut to what is there."""
        median = np.array(list(self.results["world"]["med"].values()))
        counts = self.arrays["counts"][cell].astype(np.float32)
        expression = np.log1p(counts / counts.sum() * 1e4)
        rank = np.argsort(-(expression / median))
        rank = rank[expression[rank] > 0]
        return np.concatenate([[CLS], rank + SPECIAL, [EOS]]).astype(np.int64)

    def top(self, layer: int) -> dict[int, set[str]]:
        """Feature → its top genes, by the catalog."""
        rows = self.results[f"catalog_{layer}"]["features"]
        return {
            row["feature_idx"]: {gene["gene_name"] for gene in row["top_genes"]}
            for row in rows
            if row["top_genes"]
        }


def as_codes(z: np.ndarray, kept: np.ndarray) -> Codes:
    """Activations (n, F) at the entries ``kept``."""
    from petriscope.sae.codes import Codes

    indptr = np.concatenate([[0], np.cumsum(kept.sum(1))])
    return Codes(indptr, np.nonzero(kept)[1].astype(np.int32), z[kept], z.shape[1])


def compare(path: Path, entries: Mapping[str, Any]) -> list[Compared]:
    """Each result beside ours. Raises `UserError` without the file of results."""
    beside = path.with_suffix(RESULTS)
    if not beside.is_file():
        remedy = f"Put {beside.name} beside it: inputs and results are two files of one name."
        raise UserError("lacks its other half", file=path, remedy=remedy)
    world = World(path, entries, json.loads("\n".join(text_lines(beside))))
    return [one for part in PARTS for one in part(world)]


def relative(found: Any, wanted: Any) -> float:
    """The largest relative difference; infinite where shapes differ."""
    a, b = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if a.shape != b.shape:
        return float("inf")
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(same, 0.0, np.abs(a - b) / np.abs(b)).max(initial=0.0))


def differing(found: Sequence[Any], wanted: Sequence[Any]) -> float:
    """How many entries of two lists differ, place by place."""
    different = sum(a != b for a, b in zip(found, wanted))
    return float(different + abs(len(found) - len(wanted)))


def catalog(world: World) -> Iterator[Compared]:
    """Gene lists; equal means stand in any order."""
    from petriscope.studies.cells.catalog import published_catalog

    for layer in world.layers:
        found, name = published_catalog(world.table(layer)), f"catalog_{layer}"
        wanted = pd.DataFrame(world.results[name]["features"])
        features = found.features
        counts = np.column_stack([features.fires, features.dead, features.genes])
        theirs = np.column_stack([wanted.fire_count, wanted.is_dead, wanted.n_unique_genes])
        yield Compared(f"{name}.counts", worst(counts, theirs), 0.0)
        error = relative(features.frequency, wanted.activation_freq)
        yield Compared(f"{name}.activation_freq", error, 1e-12)
        error = relative(features.mean_activation, wanted.mean_activation)
        yield Compared(f"{name}.mean_activation", error, SUMS)
        lists = found.lists.frame()
        rows = [g for genes in wanted.top_genes for g in genes]
        error = relative(lists.score, [g["mean_activation"] for g in rows])
        yield Compared(f"{name}.top_genes", error, SUMS)
        fires = [g["fire_count"] for g in rows]
        differ = worst(np.sort(lists.fires), np.sort(fires)) if len(fires) == len(lists) else np.inf
        yield Compared(f"{name}.top_genes.fire_count", differ, 0.0)


def svd(world: World) -> Iterator[Compared]:
    """Features along the authors' axes."""
    from petriscope.studies.cells.svd import published_svd

    for layer in world.layers:
        wanted = pd.DataFrame(world.results[f"catalog_{layer}"]["features"])
        alive = world.alive(layer)
        found = published_svd(world.decoder(layer), alive, world.arrays[f"svd_axes_{layer}"])
        error = worst(found.cosine[alive], wanted.max_svd_alignment[alive])
        yield Compared(f"catalog_{layer}.max_svd_alignment", error, COSINE)
        error = worst(found.aligned[alive], wanted.is_svd_aligned[alive].astype(bool))
        yield Compared(f"catalog_{layer}.is_svd_aligned", error, 0.0)
        covered = world.results["svd"]["per_layer"][str(layer)]["svd_coverage"]["n_covered_by_sae"]
        yield Compared(f"svd.{layer}.n_covered_by_sae", float(abs(found.covered - covered)), 0.0)


def terms(world: World) -> Iterator[Compared]:
    """Fisher tests and edges of the gene lists."""
    from petriscope.studies.cells.annotate import PublishedRule, published_annotations
    from petriscope.studies.cells.catalog import published_catalog

    given = world.results["world"]
    sets = {name: given["onto"][f"{key}_gene_sets"] for name, key in COLLECTIONS.items()}
    pairs = [pair for tier in given["ppi"].values() for pair in tier]
    networks = {
        "string": pd.DataFrame(pairs, columns=["source", "target"]),
        "trrust": pd.DataFrame([row[:2] for row in given["trrust"]], columns=["source", "target"]),
    }
    names = [name.upper() for name in world.genes]
    rule = PublishedRule.of(sets, networks, names)
    for layer in world.layers:
        wanted, name = world.results[f"annotations_{layer}"], f"annotations_{layer}"
        lists = published_catalog(world.table(layer)).lists.incidence()
        found = published_annotations(lists, rule, names, ALPHA)
        summary = wanted["summary"]
        counts = (len(found.tests), found.tests.significant.sum(), found.annotated.sum())
        theirs = [summary[key] for key in ("total_tests", "n_significant_tests", "n_annotated")]
        yield Compared(f"{name}.summary", worst(counts, theirs), 0.0)
        key = ["feature_idx", "ontology", "term"]
        tests = pd.DataFrame(wanted["all_significant_tests"]).sort_values(key)
        ours = found.tests[found.tests.significant]
        ours = ours.sort_values(["feature", "collection", "term"])
        columns = (("p", "p_value"), ("q", "p_adjusted"), ("odds_ratio", "odds_ratio"))
        for mine, their in columns:
            error = relative(ours[mine], tests[their].astype(float))
            yield Compared(f"{name}.{their}", error, TAIL)
        edges = pd.DataFrame(wanted["edge_enrichments"]).replace({"ontology": NETWORKS})
        edges = edges.sort_values(["feature_idx", "ontology"])
        mine = found.edges.sort_values(["feature", "network"])
        error = worst(mine[["edges", "possible"]], edges[["n_edges_within", "n_possible"]])
        yield Compared(f"{name}.edge_enrichments", error, 0.0)


def coactivation(world: World) -> Iterator[Compared]:
    """Pairs of features by PMI, and modules by the modularity that theirs reach."""
    from petriscope.graph.leiden import modularity
    from petriscope.studies.cells.modules import as_graph, published_coactivation, published_modules

    for layer in world.layers:
        wanted, name = world.results[f"coactivation_{layer}"], f"coactivation_{layer}"
        codes = world.codes(layer, True)
        edges = published_coactivation(codes)
        pairs = pd.DataFrame(wanted["top_pmi_edges"], columns=["feature", "other", "pmi", "count"])
        pairs, mine = (part.sort_values(["feature", "other"]) for part in (pairs, edges))
        keys = ["feature", "other", "count"]
        yield Compared(f"{name}.edges", worst(mine[keys], pairs[keys]), 0.0)
        yield Compared(f"{name}.pmi", worst(mine.pmi, pairs.pmi), PMI)
        graph = as_graph(edges, codes.m, "pmi")
        them = np.full(codes.m, -1)
        for one in wanted["modules"]:
            them[one["features"]] = one["module_id"]
        found = [published_modules(edges, codes.m, seed) for seed in range(SEED, SEED + SEEDS)]
        ours, theirs = (
            max(modularity(graph, _whole(graph, labels)) for labels in many)
            for many in (found, [them])
        )
        yield Compared(f"{name}.modularity", max(theirs - ours, 0.0), MODULARITY)


def _whole(graph: sp.csr_matrix, labels: np.ndarray) -> np.ndarray:
    """A partition again: modules of fewer than three features, which are not kept (-1), are what
    hangs together of the rest."""
    free = np.flatnonzero(labels < 0)
    found = labels.copy()
    parts = sp.csgraph.connected_components(graph[free][:, free], directed=False)[1]
    found[free] = labels.max(initial=-1) + 1 + parts
    return found


def highways(world: World) -> Iterator[Compared]:
    """Dependencies between layers."""
    from petriscope.studies.cells.highways import published_highways

    for name, wanted in world.results.items():
        if not name.startswith("highways_"):
            continue
        layers = int(wanted["layer_a"]), int(wanted["layer_b"])
        found = published_highways(*(world.codes(layer, True) for layer in layers))
        rows = pd.DataFrame(wanted["dependencies"]).sort_values("feature_a")
        ours = found.features.sort_values("feature")
        counts = ours[["feature", "count", "dependencies"]]
        theirs = rows[["feature_a", "count_a", "n_dependencies"]]
        yield Compared(f"{name}.counts", worst(counts, theirs), 0.0)
        error = worst(ours[["max_pmi", "mean_pmi_top5"]], rows[["max_pmi", "mean_pmi_top5"]])
        yield Compared(f"{name}.pmi", error, PMI)
        number = wanted["summary"]["n_highways"]
        yield Compared(f"{name}.n_highways", float(abs(found.highways - number)), 0.0)


def tracking(world: World) -> Iterator[Compared]:
    """Decoder directions through layers."""
    from petriscope.studies.cells.persistence import published_tracking

    wanted = world.results["cross_layer"]
    decoders = [world.decoder(layer) for layer in world.layers]
    found = published_tracking(decoders, [world.alive(layer) for layer in world.layers])
    steps = pd.DataFrame(wanted["adjacent_persistence"])
    far = pd.DataFrame(wanted["long_range_persistence"])
    ours = found.adjacent[["matches", "high_matches", "alive"]]
    error = worst(ours, steps[["n_matches", "n_high_matches", "n_alive_from"]])
    yield Compared("cross_layer.adjacent_persistence", error, 0.0)
    error = worst(found.adjacent.mean_cosine, steps.mean_match_cosine)
    yield Compared("cross_layer.mean_match_cosine", error, COSINE)
    yield Compared(
        "cross_layer.long_range_persistence", worst(found.reference.matches, far.n_matches), 0.0
    )
    spans = wanted["lifecycle_summary"]["span_histogram"]
    alive = found.layers[world.alive(0)]
    error = worst([(alive == int(span)).sum() for span in spans], list(spans.values()))
    yield Compared("cross_layer.span_histogram", error + abs(len(alive) - sum(spans.values())), 0.0)


def causal(world: World) -> Iterator[Compared]:
    """Features switched off, all genes visible."""
    import torch

    from petriscope.studies.cells.causal import PublishedCoder, VisibleCell, published_causal
    from petriscope.studies.cells.model.batch import CellBatch

    for name, wanted in world.results.items():
        if not name.startswith("causal_"):
            continue
        layer = int(wanted["layer"])
        names = ("W_enc.weight", "W_enc.bias", "W_dec.weight")
        arrays = (world.arrays[f"sae_{layer}/{part}"] for part in names)
        parts = (*arrays, world.arrays[f"mean_{layer}"])
        encoder, bias, decoder, mean = (torch.from_numpy(np.asarray(part)) for part in parts)
        coder = PublishedCoder(encoder, bias, decoder, mean, int(world.results["world"]["k"]))
        number = {gene: place + SPECIAL for place, gene in enumerate(world.genes)}
        rows, top = pd.DataFrame(wanted["feature_results"]), world.top(layer)
        targets = {int(f): {number[gene] for gene in top[int(f)]} for f in rows.feature_idx}
        cells = []
        for cell in _controls(world)[: wanted["config"]["n_cells"]]:
            ids = world.ids(int(cell))
            batch = CellBatch(torch.from_numpy(ids)[None], None, torch.ones(1, len(ids)).bool())
            cells.append(VisibleCell(batch, np.arange(1, len(ids) - 1), ids[1:-1]))
        found = published_causal(
            world.model, cells, layer + 1, coder.__call__, coder.directions, targets
        )
        counts = [(one.active, len(one.targets), len(one.others)) for one in found]
        theirs = rows[["n_cells_active", "n_target_measurements", "n_other_measurements"]]
        yield Compared(f"{name}.counts", worst(counts, theirs), 0.0)
        for part in ("target", "other"):
            changes = [getattr(one, f"{part}s") for one in found]
            means = [float(x.mean()) if len(x) else 0.0 for x in changes]
            error = worst(means, rows[f"{part}_logit_diff_mean"])
            yield Compared(f"{name}.{part}_logit_diff_mean", error, LOGIT)
        ratios = [one.ratio for one in found]
        error = relative(ratios, rows.specificity_ratio.astype(float))
        yield Compared(f"{name}.specificity_ratio", error, EFFECT)


def _controls(world: World) -> np.ndarray:
    """The control cells that were harvested, in their order."""
    found = np.flatnonzero(np.array(world.results["cells"]) == "non-targeting")
    if len(found) <= CONTROLS:
        return found
    return np.sort(np.random.RandomState(SEED).choice(found, CONTROLS, replace=False))


def knockdowns(world: World) -> Iterator[Compared]:
    """Effects of knock-downs on features, a near-dead one's of 80 among them."""
    import torch

    from petriscope.studies.cells.model.batch import CellBatch
    from petriscope.studies.cells.perturbation import Baseline, published_responses

    known: dict[str, set[str]] = {}
    for tf, target, *_ in world.results["world"]["trrust"]:
        known.setdefault(tf, set()).add(target)
    label = np.array(world.results["cells"])
    for name, wanted in world.results.items():
        if not name.startswith("perturbation_"):
            continue
        layer, rows = int(wanted["layer"]), wanted["target_results"]
        model, perturbed = world.model, {}
        for place, row in enumerate(rows):
            cells = np.flatnonzero(label == row["target_gene"])
            if len(cells) > CELLS:
                cells = np.random.RandomState(SEED + place).choice(cells, CELLS, replace=False)
            streams = []
            for cell in np.sort(cells):
                ids = torch.from_numpy(world.ids(int(cell)))[None]
                batch = CellBatch(ids, None, torch.ones_like(ids).bool())
                with torch.inference_mode():
                    hidden = model.run(batch, capture=(layer + 1,)).hidden[layer + 1]
                streams.append(hidden[0, 1:-1].numpy())
            z, _ = world.encode(layer, np.concatenate(streams))
            perturbed[row["target_gene"]] = as_codes(z, z > 0)
        baseline = Baseline.of(world.codes(layer))
        found = published_responses(baseline, perturbed, world.top(layer), known)
        mine = [int(f) for one in found for f in one.changed]
        top = [one for row in rows for one in row["top_changed_features"]]
        error = differing(mine, [one["feature_idx"] for one in top])
        yield Compared(f"{name}.top_changed_features", error, 0.0)
        effects = np.concatenate([one.effect[one.changed] for one in found])
        error = relative(effects, [one["effect_size"] for one in top])
        yield Compared(f"{name}.effect_size", error, EFFECT)
        counts = [(one.positions, len(one.responding), one.specific) for one in found]
        keys = ["n_positions", "n_responding_features", "n_specific_responding"]
        yield Compared(f"{name}.counts", worst(counts, pd.DataFrame(rows)[keys]), 0.0)


def novel(world: World) -> Iterator[Compared]:
    """Clusters of features without annotation, their modules and annotations given."""
    from petriscope.graph.leiden import leiden
    from petriscope.studies.cells.catalog import published_catalog
    from petriscope.studies.cells.novel import published_novel

    for layer in world.layers:
        wanted, name = world.results[f"novel_{layer}"], f"novel_{layer}"
        made = published_catalog(world.table(layer))
        annotated = np.zeros(len(made.features), bool)
        known = world.results[f"annotations_{layer}"]["feature_annotations"]
        annotated[[int(feature) for feature in known]] = True
        module = np.full(len(made.features), -1)
        for one in world.results[f"coactivation_{layer}"]["modules"]:
            module[one["features"]] = one["module_id"]
        found = published_novel(
            made.lists.incidence(),
            annotated,
            made.features.frequency.to_numpy(),
            module,
            world.genes,
            leiden,
        )
        for key, value in {**wanted["summary"], **wanted["categories"]}.items():
            yield Compared(f"{name}.{key}", relative(found.summary[key], value), 1e-12)


def celltypes(world: World) -> Iterator[Compared]:
    """Cell types and tissues of the cells in which a feature is strongest."""
    from petriscope.studies.cells.celltypes import cell_sums, mean_when_active, published_celltypes

    cell = world.arrays["cell_ids"].astype(np.int64)
    for name, wanted in world.results.items():
        if not name.startswith("celltypes_"):
            continue
        codes = world.codes(int(name.removeprefix("celltypes_")))
        means = mean_when_active(*cell_sums(codes, cell, int(cell.max()) + 1))
        for labels, least, key in (("types", 3, "cell_types"), ("tissues", 1, "tissues")):
            found = published_celltypes(
                *(means, np.array(wanted[labels])),
                least=least,
                all_types=key == "tissues",
                alpha=ALPHA,
            )
            features = wanted["features"]
            active = {int(feature): one["n_active_cells"] for feature, one in features.items()}
            mine = dict(zip(found.features.feature, found.features.active))
            error = float(len(set(mine.items()) ^ set(active.items())))
            yield Compared(f"{name}.{key}.n_active_cells", error, 0.0)
            rows = [
                (int(feature), one["ct" if key == "cell_types" else "t"], one["p_raw"])
                for feature, parts in features.items()
                for one in parts[key]
            ]
            theirs = sorted(rows)
            ours = sorted(zip(found.found.feature, found.found.type, found.found.p))
            error = differing([row[:2] for row in ours], [row[:2] for row in theirs])
            yield Compared(f"{name}.{key}", error, 0.0)
            error = relative([row[2] for row in ours], [row[2] for row in theirs])
            yield Compared(f"{name}.{key}.p_raw", error, TAIL)


PARTS = (
    *(catalog, svd, terms, coactivation, highways, tracking, causal, knockdowns, novel),
    celltypes,
)
KINDS: tuple[FixtureKind, ...] = (
    FixtureKind(
        "methods of the comparative atlas",
        "Biodyn-AI/bio-sae scripts 03 to 11 and the atlas's cell types, numpy, scipy, statsmodels, "
        "leidenalg",
        frozenset({"acts_0", "svd_axes_0", "sae_0/W_enc.weight", "gene_ids", "cell_ids", "counts"}),
        compare,
    ),
)
"""What the original programs computed is computed again: the parity fixtures of study cells."""
