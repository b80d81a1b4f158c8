"""The scan of all knock-downs and features against `scipy.stats.ttest_ind` target by target, and
switching features off against two whole passes for each feature and cell."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from rows import Against, cpu, medians
from scipy import stats

from petriscope.studies.cells.perturbation import Cohort, fits, group_sums, plain_fit

TARGETS, CONTROLS, PER_TARGET = 150, 4000, 20
FEATURES, DENSITY = 1024, 0.5


def screen() -> tuple[sp.csr_matrix, Cohort]:
    """Cell means of a screen: 7,000 cells, 1,024 features, half of them in a cell."""
    rng = np.random.default_rng(0)
    n = CONTROLS + TARGETS * PER_TARGET
    group = np.concatenate([np.zeros(CONTROLS, int), np.repeat(np.arange(1, TARGETS + 1), 20)])
    y = sp.random(n, FEATURES, DENSITY, "csr", random_state=rng)
    names = tuple(f"t{i}" for i in range(TARGETS))
    return y, Cohort(group, names, np.zeros(n, int), np.zeros((n, 0)))


def scan() -> list[Against]:
    """The same t of every (target, feature): sums in one pass, against scipy on each target's own
    cells and the controls, as dense columns (its own form). Rounds alternate; scipy does a tenth
    of the targets."""
    y, who = screen()
    dense, few = y.toarray(), TARGETS // 10

    def ours() -> np.ndarray:
        sums = group_sums(y, who.group, who.nuisance())
        rows = []
        for place in range(1, TARGETS + 1):
            found = plain_fit(sums, place)
            assert found is not None
            estimate, variance, scale, _ = found
            rows.append(estimate / np.sqrt(variance * scale))
        return np.stack(rows)

    def moderated() -> None:
        list(fits(group_sums(y, who.group, who.nuisance()), TARGETS))

    def theirs(targets: int = few) -> np.ndarray:
        control = dense[who.group == 0]
        rows = [
            stats.ttest_ind(dense[who.group == place], control).statistic
            for place in range(1, targets + 1)
        ]
        return np.stack(rows)

    np.testing.assert_allclose(ours()[:few], theirs(), rtol=1e-6)
    seconds = medians({"ours": ours, "moderated": moderated, "theirs": theirs})
    whole = seconds["theirs"] * TARGETS / few
    what = f"all of {TARGETS} targets x {FEATURES} features, {CONTROLS} controls"
    return [
        Against(f"{what}, scipy per target", seconds["ours"], whole, 100),
        Against(f"{what}, moderated, scipy per target", seconds["moderated"], whole, 100),
    ]


def switched_off() -> list[Against]:
    """Thirty features in forty cells of 90 genes: the stream cached once and resumed above layer 2
    of 3, against a plain and an edited pass for every feature and cell."""
    import torch
    from petriscope.studies.cells.model.buckets import Padding
    from petriscope.studies.cells.model.geneformer import Geneformer, GeneformerConfig
    from petriscope.studies.cells.model.tokens import CellTokens

    from petriscope.causal.edits import steering_edit
    from petriscope.sae.coder import SAE
    from petriscope.sae.config import SAEConfig
    from petriscope.studies.cells.causal import Bench
    from petriscope.studies.cells.readings import collate, hold, masked_cell

    torch.set_num_threads(1)
    rng, d, genes, n, layer = np.random.default_rng(0), 64, 250, 40, 2
    model = Geneformer(GeneformerConfig(genes + 4, 3, d, 4, 128, tokens=256), 0).eval()
    rows = [rng.permutation(genes)[:90] for _ in range(n)]
    gene = np.concatenate(rows).astype(np.int32)
    tokens = CellTokens(gene + 4, gene, np.ones(len(gene), np.float32), np.arange(n + 1) * 90)
    weights = torch.from_numpy(rng.normal(size=(256, d)).astype(np.float32))
    weights /= weights.norm(dim=1, keepdim=True)
    zero = torch.zeros(256), torch.zeros(d)
    sae = SAE(SAEConfig(d, 256, 8, variant="topk"), weights, zero[0], weights, zero[1], 1.0, 0.0)
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
                kept = np.ones((1, 90), bool)
                edit = steering_edit(delta, 1.0, kept)
                model.run(made.batch, edits={layer: edit})

    seconds = {"ours": cpu(ours), "theirs": cpu(theirs)}
    again = {"ours": cpu(ours), "theirs": cpu(theirs)}
    best = {name: min(seconds[name], again[name]) for name in seconds}
    what = f"{len(features)} features x {n} cells switched off, two whole passes each"
    return [Against(what, best["ours"], best["theirs"], 4)]


if __name__ == "__main__":
    for row in (*scan(), *switched_off()):
        print(row.line, flush=True)
