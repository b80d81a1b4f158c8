"""Does sparsity pay in a step of the published ReLU-L1 autoencoder? The same step, sparse and dense.

A step of TopK touches k of m latents a token, and the trainer's sparse products gain by it. The
published form fires on a large share of them (L0 is half of m at the start), so its step has no
sparsity to use: there the trainer is slower than plain dense products, and this row says by how
much. Nothing is asked of it.
"""

from __future__ import annotations

import torch
from rows import Against, medians

from petriscope.sae.select import CandidateFilter, TopK, above_threshold
from petriscope.sae.step import Objective, Parameters, batch_gradients, weight_blocks

WIDTH, LATENTS, TOKENS, ROUNDS = 256, 2048, 512, 3


def density() -> list[Against]:
    """All gradients of one step by the trainer against plain dense products."""
    torch.set_num_threads(1)
    rng = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(LATENTS, WIDTH, generator=rng), dim=1)
    W_enc = (2 * torch.rand(LATENTS, WIDTH, generator=rng) - 1) / WIDTH**0.5
    given = Parameters(W_enc, torch.zeros(LATENTS), W_dec, torch.zeros(WIDTH))
    x = torch.randn(TOKENS, WIDTH, generator=rng)
    found = []
    for name, k in (("published ReLU-L1", None), ("TopK, k 32", 32)):
        works = {
            "ours": lambda k=k: sparse_step(given, x, k),
            "dense": lambda k=k: dense_step(given, x, k),
        }
        l0 = sparse_step(given, x, k)
        seconds = medians(works, ROUNDS)
        what = f"step of {name}, L0 {l0:.0f} of {LATENTS}, against dense products"
        found.append(Against(what, seconds["ours"], seconds["dense"], 0))
    return found


def sparse_step(given: Parameters, x: torch.Tensor, k: int | None) -> float:
    """All gradients by the trainer; returns L0."""
    filter_ = CandidateFilter(given.W_enc, given.b_enc, "float32")
    chosen = above_threshold(filter_, x, 0.0) if k is None else TopK(k)(filter_, x)
    l1 = 1.28 if k is None else 0.0
    objective = Objective(torch.zeros(0, dtype=torch.long), 1, 0.0, l1=l1)
    found = batch_gradients(given, x, x - given.b_dec, chosen, objective)
    W_enc, W_dec = torch.empty_like(given.W_enc), torch.empty_like(given.W_dec)
    for _ in weight_blocks(found, objective, 1024, W_enc, W_dec):
        pass
    return found.l0


def dense_step(given: Parameters, x: torch.Tensor, k: int | None) -> float:
    """The same gradients by dense products; returns L0."""
    centered = x - given.b_dec
    z = torch.addmm(given.b_enc, centered, given.W_enc.T).clamp_min_(0)
    if k is not None:
        z *= z >= z.topk(k, dim=1).values[:, -1:]
    error = torch.addmm(centered, z, given.W_dec, alpha=-1)
    pull = error * (-2 / len(x))
    fired = z > 0
    at_z = (pull @ given.W_dec.T + (1.28 / len(x) if k is None else 0.0)) * fired
    gradients = (at_z.T @ centered, z.T @ pull, at_z.sum(0))
    assert all(part.isfinite().all() for part in gradients)
    return float(fired.sum() / len(x))


ROWS = {"sae_density": density}
