"""Study cells against its named rivals, in CPU seconds of one thread, measured in one run.

`python benchmarks/cells.py [ROW ...]`. Inputs are simulated with the sizes of the released atlas;
popular genes and features fill many lists. A rival that would take hours does a sample, whose rate
holds for the rest: what it does to one list, token or target does not depend on the others. Its
results are held against ours. Status 1 where a goal is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

for _threads in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_threads, "1")  # before any of them is loaded

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from rows import Against, Within, all_rounds, cpu, medians
from scipy import stats

from petriscope.causal.edits import steering_edit
from petriscope.enrich.lists import any_set, overlap_tests
from petriscope.graph.cofiring import cofiring
from petriscope.graph.leiden import leiden, modularity
from petriscope.sae.coder import SAE
from petriscope.sae.codes import Codes
from petriscope.sae.config import SAEConfig
from petriscope.studies.cells.causal import Bench
from petriscope.studies.cells.inputs import CellInputs
from petriscope.studies.cells.model.buckets import Padding
from petriscope.studies.cells.model.geneformer import PAD, Geneformer, GeneformerConfig
from petriscope.studies.cells.model.tokens import CellTokens
from petriscope.studies.cells.model.weights import their_weights
from petriscope.studies.cells.perturbation import Cohort, group_sums, moderated_fits, plain_fits
from petriscope.studies.cells.readings import collate, hold, masked_cell

# Annotation ---------------------------------------------------------------------------------------

LAYERS, LISTS, TERMS, GENES, LIST = 18, 82_525, 7_438, 17_000, 20
SAMPLE = 12


class Sets(NamedTuple):
    """Lists and terms of a layer, as arrays and as lists of names."""

    lists: sp.csr_matrix
    members: sp.csr_matrix
    queries: list[list[str]]
    terms: dict[str, list[str]]
    names: list[str]


def layer_sets(seed: int = 0) -> Sets:
    """One layer: 4,584 lists of 20 genes, terms of 5 to 500 genes with a median of about 20."""
    rng = np.random.default_rng(seed)
    names = [f"GENE{i}" for i in range(GENES)]
    weight = rng.lognormal(0, 0.5, GENES)
    cumulative = np.cumsum(weight / weight.sum())

    def drawn(size: int) -> np.ndarray:
        found = np.unique(np.searchsorted(cumulative, rng.random(3 * size)))
        return np.minimum(rng.permutation(found)[:size], GENES - 1)

    rows = [drawn(LIST) for _ in range(LISTS // LAYERS)]
    sizes = np.clip(np.rint(rng.lognormal(3.0, 1.0, TERMS)), 5, 500).astype(int)
    terms = [drawn(int(size)) for size in sizes]

    def matrix(rows: list[np.ndarray]) -> sp.csr_matrix:
        indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        genes = np.concatenate(rows)
        made = sp.csr_matrix((np.ones(len(genes)), genes, indptr), shape=(len(rows), GENES))
        made.sort_indices()
        return made

    return Sets(
        matrix(rows),
        sp.csr_matrix(matrix(terms).T),
        [[names[gene] for gene in row] for row in rows],
        {f"T{i}": [names[gene] for gene in term] for i, term in enumerate(terms)},
        names,
    )


def released_annotation(query: list[str], given: Sets) -> dict[str, float]:
    """p of each term that shares two genes: 04_annotate_features.py:124-152,222-237 of
    Biodyn-AI/bio-sae, which makes every term's set anew for every list."""
    genes, found = {gene.upper() for gene in query}, {}
    for term, listed in given.terms.items():
        members = {gene.upper() for gene in listed}
        overlap = genes & members
        if len(overlap) < 2:
            continue
        a = len(overlap)
        b, c = len(genes) - a, len(members) - a
        table = [[a, b], [c, GENES - a - b - c]]
        found[term] = float(stats.fisher_exact(table, alternative="greater")[1])
    return found


def gseapy_annotation(query: list[str], given: Sets) -> dict[str, float]:
    """p of each term that shares a gene."""
    import gseapy

    made = gseapy.enrich(
        query, given.terms, background=given.names, outdir=None, no_plot=True
    ).results
    return dict(zip(made["Term"], made["P-value"].astype(float)))


def annotation() -> list[Against]:
    """Every list of the atlas, corrected for all lists x terms; a sample of lists by rivals."""
    given = layer_sets()
    number = given.lists.shape[0]

    def layer() -> None:
        any_set(overlap_tests(given.lists, given.members), number, TERMS, 0.05)

    tests = overlap_tests(given.lists, given.members)
    places = {(int(f), int(t)): p for f, t, p in zip(tests.list, tests.set, tests.ln_p)}
    rivals = {"the released loop": released_annotation, "gseapy.enrich": gseapy_annotation}
    made: dict[str, list[dict[str, float]]] = {name: [] for name in rivals}

    def sample(name: str) -> None:
        made[name] = [rivals[name](query, given) for query in given.queries[:SAMPLE]]

    taken = medians({"ours": layer, **{name: partial(sample, name) for name in rivals}})
    found = []
    for name, rows in made.items():
        for feature, terms in enumerate(rows):
            mine = [np.exp(places[feature, int(term[1:])]) for term in terms]
            np.testing.assert_allclose(mine, list(terms.values()), rtol=1e-6)
        what = f"{LISTS:,} lists x {TERMS:,} terms, {name} (rate of {SAMPLE} lists)"
        whole = taken[name] / SAMPLE * number * LAYERS
        found.append(Against(what, taken["ours"] * LAYERS, whole, 500))
    return found


# Pairs of features, modules -----------------------------------------------------------------------

FEATURES, K, TOKENS, DRAWN, LOOPED = 4608, 32, 500_000, 40_000, 1000


def layer_codes(seed: int, features: int = FEATURES, tokens: int = TOKENS) -> Codes:
    """32 features of 4,608 on each token, from frequencies as skewed as the released (median
    .0039; Geneformer); the lists of 40,000 tokens in another order again and again."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=features).astype(np.float32)
    drawn = np.empty((DRAWN, K), np.int32)
    for start in range(0, DRAWN, 4000):
        key = weight + rng.gumbel(size=(4000, features)).astype(np.float32)
        best = np.argpartition(-key, K - 1, axis=1)[:, :K]
        drawn[start : start + 4000] = np.sort(best, axis=1)
    chosen = drawn[rng.integers(0, DRAWN, tokens)].ravel()
    indptr = np.arange(tokens + 1, dtype=np.int64) * K
    return Codes(indptr, chosen, np.ones(chosen.size, np.float32), features)


def _ones(codes: Codes) -> sp.csr_matrix:
    """Whole numbers of 32 bits: scipy's fastest of those that hold the counts."""
    ones = np.ones(len(codes.indices), np.int32)
    return sp.csr_matrix((ones, codes.indices, codes.indptr), shape=(codes.n, codes.m))


def cross_layer() -> list[Against]:
    """Features of two layers that fire on one token: the authors' loop over tokens and pairs
    (11_computational_graph.py:134-141 of Biodyn-AI/bio-sae) at a sample of tokens, and scipy's product."""
    first, second = layer_codes(0), layer_codes(1)
    few = [codes.rows(0, LOOPED) for codes in (first, second)]
    tops = [codes.indices.reshape(-1, K).astype(np.int64) for codes in few]
    counted = np.zeros((FEATURES, FEATURES), np.int32)

    def loop() -> None:
        counted[:] = 0
        for row in range(LOOPED):
            for a in tops[0][row]:
                for b in tops[1][row]:
                    counted[a, b] += 1

    loop()
    np.testing.assert_array_equal(counted, cofiring(*few))
    pair = [_ones(codes) for codes in (first, second)]
    taken = medians(
        {
            "ours": lambda: cofiring(first, second),
            "loop": loop,
            "scipy": lambda: pair[0].T @ pair[1],
        }
    )
    what = f"cross-layer counts, {TOKENS:,} tokens x {FEATURES:,} features"
    looped = taken["loop"] / LOOPED * TOKENS
    return [
        Against(f"{what}, triple loop (rate of {LOOPED})", taken["ours"], looped, 250),
        Against(f"{what}, scipy", taken["ours"], taken["scipy"], 0),
    ]


def coactivation() -> list[Against]:
    """Features of a layer that fire on one token, against scipy's sparse product."""
    codes = layer_codes(0)
    ones = _ones(codes)
    np.testing.assert_array_equal(cofiring(codes), (ones.T @ ones).toarray())
    taken = medians({"ours": lambda: cofiring(codes), "scipy": lambda: ones.T @ ones})
    what = f"co-activation, {TOKENS:,} tokens x {FEATURES:,} features, scipy"
    return [Against(what, taken["ours"], taken["scipy"], 4)]


def module_graph(
    features: int = 4600, edges: int = 350_000, modules: int = 8, seed: int = 0
) -> sp.csr_matrix:
    """A layer's graph: modules of unlike sizes, as many edges inside them as give the modularity of
    released ones (.59), weights as of PMI from 2."""
    rng = np.random.default_rng(seed)
    label = rng.choice(modules, features, p=rng.dirichlet(np.full(modules, 4.0)))
    drawn = rng.integers(0, features, (6 * edges, 2))
    inside = label[drawn[:, 0]] == label[drawn[:, 1]]
    drawn = np.sort(drawn[(inside | (rng.random(len(drawn)) < 0.04))], axis=1)
    drawn = np.unique(drawn[drawn[:, 0] != drawn[:, 1]], axis=0)
    drawn = drawn[rng.permutation(len(drawn))[:edges]]
    weight = 2 + rng.exponential(0.7, len(drawn))
    upper = sp.csr_matrix((weight, drawn.T), shape=(features, features))
    return sp.csr_matrix(upper + upper.T)


def modules() -> list[Against | Within]:
    """Communities of one layer's graph, as published by leidenalg until nothing changes. Of our
    time 95 % is graspologic-native's; how long leidenalg takes changes from run to run."""
    import igraph
    import leidenalg

    weights = module_graph()
    upper = sp.triu(weights).tocoo()
    graph = igraph.Graph(n=weights.shape[0], edges=list(zip(upper.row, upper.col)), directed=False)
    graph.es["weight"] = upper.data
    kept: dict[str, Any] = {}

    def ours() -> None:
        kept["ours"] = leiden(weights)

    def theirs() -> None:
        kind = leidenalg.RBConfigurationVertexPartition
        found = leidenalg.find_partition(
            graph, kind, weights="weight", resolution_parameter=1.0, seed=42, n_iterations=-1
        )
        kept["theirs"] = np.array(found.membership)

    taken = all_rounds({"ours": ours, "theirs": theirs}, 7)
    q = {name: modularity(weights, labels) for name, labels in kept.items()}
    what = f"modules of {upper.nnz:,} edges"
    middle = {name: statistics.median(values) for name, values in taken.items()}
    each = tuple(their / our for our, their in zip(taken["ours"], taken["theirs"]))
    return [
        Against(f"{what}, leidenalg", middle["ours"], middle["theirs"], 10, each=each),
        Within(
            f"{what}, modularity {q['ours']:.4f} below leidenalg's by",
            max(q["theirs"] - q["ours"], 0.0),
            1e-3,
            "",
        ),
    ]


# Knock-downs --------------------------------------------------------------------------------------

TARGETS, CONTROLS, PER_TARGET, WIDTH, DENSITY = 150, 4000, 20, 1024, 0.5


def crispri() -> list[Against]:
    """The t of every (target, feature): sums in one pass, against scipy on each target's own cells
    and the controls, as dense columns (its own form). scipy does a tenth of the targets."""
    rng = np.random.default_rng(0)
    n = CONTROLS + TARGETS * PER_TARGET
    group = np.repeat(np.arange(TARGETS + 1), [CONTROLS, *[PER_TARGET] * TARGETS])
    y = sp.random(n, WIDTH, DENSITY, "csr", random_state=rng)
    names = tuple(f"t{i}" for i in range(TARGETS))
    who = Cohort(group, names, np.zeros(n, int), np.zeros((n, 0)))
    dense, few = y.toarray(), TARGETS // 10

    def ours() -> np.ndarray:
        sums = group_sums(y, who.group, who.nuisance())
        estimate, variance, scale, _ = plain_fits(sums)
        return np.asarray(estimate / np.sqrt(variance * scale[:, None]))

    def theirs() -> np.ndarray:
        control = dense[who.group == 0]
        cells = (dense[who.group == place] for place in range(1, few + 1))
        return np.stack([stats.ttest_ind(own, control).statistic for own in cells])

    np.testing.assert_allclose(ours()[:few], theirs(), rtol=1e-6)
    moderated = lambda: moderated_fits(group_sums(y, who.group, who.nuisance()))
    taken = medians({"ours": ours, "moderated": moderated, "theirs": theirs})
    whole = taken["theirs"] * TARGETS / few
    what = f"{TARGETS} targets x {WIDTH} features, {CONTROLS} controls"
    return [
        Against(f"{what}, scipy per target", taken["ours"], whole, 100),
        Against(f"{what}, moderated, scipy per target", taken["moderated"], whole, 100),
    ]


# Models -------------------------------------------------------------------------------------------

WORDS, PADDED = 1000, 2048
LENGTHS = (620, 1180, 1190, 1776, 2048)
SHORT, SHORT_LENGTHS = 200, (80, 104)


def _bert(model: Geneformer) -> Any:
    """The same weights in Hugging Face's BertModel with eager attention, as the paper runs it."""
    import transformers

    size = model.config
    config = transformers.BertConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.d_model,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        intermediate_size=size.ffn,
        hidden_act="relu",
        max_position_embeddings=size.tokens,
        pad_token_id=PAD,
        attn_implementation="eager",
    )
    native = transformers.BertModel(config, add_pooling_layer=False)
    weights = {
        name.removeprefix("bert."): value
        for name, value in their_weights(model).items()
        if name.startswith("bert.")
    }
    native.load_state_dict(weights, strict=False)
    return native.eval()


def _cells(lengths: np.ndarray) -> CellInputs:
    n = int(lengths.sum())
    ids = np.random.default_rng(0).integers(4, WORDS, n).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = CellTokens(ids, ids, np.zeros(n, np.float32), offsets)
    obs = pd.DataFrame({"split": "train", "block": range(len(lengths))})
    return CellInputs(obs, tokens, "geneformer", PAD, WORDS)


def _passes(model: Geneformer, inputs: CellInputs) -> dict[str, Callable[[], Any]]:
    """All streams of all cells: ours in buckets by `CellInputs.streams_of`, theirs cell by cell,
    padded or at the cell's own length."""
    native, layers = _bert(model), range(model.n_layers + 1)
    groups = inputs.together(range(len(inputs)))

    def theirs(cell: int, length: int) -> tuple[torch.Tensor, ...]:
        batch = inputs.batch(cell)
        ids = torch.full((1, length), PAD)
        ids[:, : batch.ids.shape[1]] = batch.ids
        mask = (torch.arange(length) < batch.ids.shape[1])[None].long()
        return native(ids, attention_mask=mask, output_hidden_states=True).hidden_states

    def ours() -> list[dict[int, torch.Tensor]]:
        return [inputs.streams_of(model, group, layers) for group in groups]

    for group, found in zip(groups, ours(), strict=True):
        start = 0
        for cell in group:
            n = int(inputs.counts[cell])
            wanted = theirs(cell, n)[-1][0]
            off = (found[layers[-1]][start : start + n] - wanted).abs().max()
            assert off < 1e-4, f"the two differ by {off:.1e}"
            start += n
    return {
        "ours": ours,
        "padded": lambda: [theirs(cell, PADDED) for cell in range(len(inputs))],
        "alone": lambda: [theirs(c, int(n)) for c, n in enumerate(inputs.counts)],
    }


@torch.inference_mode()
def forward() -> list[Against]:
    """One of the 18 blocks of V2-316M on cells of a 10x sample, cut at 2,048 genes; and a small
    model with short cells, where the loop's cost is that of starting."""
    torch.set_num_threads(1)
    wide = Geneformer(GeneformerConfig(WORDS, 1, 1152, 18, 4608, PADDED)).eval()
    long = medians(_passes(wide, _cells(np.array(LENGTHS))))
    small = Geneformer(GeneformerConfig(WORDS, 3, 64, 4, 128, PADDED)).eval()
    passes = _passes(small, _cells(np.random.default_rng(1).integers(*SHORT_LENGTHS, SHORT)))
    del passes["padded"]
    short = medians(passes)
    what = f"a block of 1152, {len(LENGTHS)} cells of {min(LENGTHS)} to {max(LENGTHS)} genes"
    few = f"3 blocks of 64, {SHORT} cells of {SHORT_LENGTHS[0]} to {SHORT_LENGTHS[1]} genes"
    return [
        Against(f"{what}, eager, padded, one at a time", long["ours"], long["padded"], 1.5),
        Against(f"{what}, eager, one at a time", long["ours"], long["alone"], 0),
        Against(f"{few}, eager, one at a time", short["ours"], short["alone"], 1.5),
    ]


def switched_off() -> list[Against]:
    """Thirty features in forty cells of 90 genes: the stream cached once and resumed above layer 2
    of 3, against a plain and an edited pass for every feature and cell."""
    torch.set_num_threads(1)
    rng, d, genes, n, layer = np.random.default_rng(0), 64, 250, 40, 2
    model = Geneformer(GeneformerConfig(genes + 4, 3, d, 4, 128, tokens=256), 0).eval()
    gene = np.concatenate([rng.permutation(genes)[:90] for _ in range(n)]).astype(np.int32)
    tokens = CellTokens(gene + 4, gene, np.ones(len(gene), np.float32), np.arange(n + 1) * 90)
    weights = torch.from_numpy(rng.normal(size=(256, d)).astype(np.float32))
    weights /= weights.norm(dim=1, keepdim=True)
    config = SAEConfig(d, 256, 8, variant="topk")
    sae = SAE(config, weights, torch.zeros(256), weights, torch.zeros(d), 1.0, 0.0)
    cells = [masked_cell(tokens, i, 0.15, 0) for i in range(n)]
    features, padding = range(30), Padding(0, None)

    def ours() -> None:
        bench = Bench(model, hold(model, cells, padding, layer), sae)
        for feature in features:
            fired = bench.firings(feature)
            if len(fired.row):
                bench.reads(feature, fired, bench.directions[[feature]])

    @torch.inference_mode()
    def theirs() -> None:
        for feature in features:
            for cell in cells:
                made = collate(model, [cell], padding)
                stream = model.run(made.batch, capture=(layer,)).hidden[layer]
                z = sae.encode_dense(stream[0])[:, feature]
                if not (z > 0).any():
                    continue
                delta = -(z[:, None] * sae.directions[feature]).numpy()
                edit = steering_edit(delta, 1.0, np.ones((1, 90), bool))
                model.run(made.batch, edits={layer: edit})

    cpu(ours)  # warm
    taken = medians({"ours": ours, "theirs": theirs}, 2)
    what = f"{len(features)} features x {n} cells switched off, two whole passes each"
    return [Against(what, taken["ours"], taken["theirs"], 4)]


ROWS: dict[str, Callable[[], list[Any]]] = {
    "annotation": annotation,
    "cross_layer": cross_layer,
    "coactivation": coactivation,
    "modules": modules,
    "crispri": crispri,
    "forward": forward,
    "switched_off": switched_off,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"any of: {', '.join(ROWS)}")
    asked = parser.parse_args().rows or list(ROWS)
    if unknown := set(asked) - set(ROWS):
        parser.error(f"no row {min(unknown)}; there are {', '.join(ROWS)}")
    missed = 0
    for name in asked:
        print(f"[{name}]")
        for measured in ROWS[name]():
            print(f"  {measured.line}", flush=True)
            missed += measured.line.endswith("MISSED")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
