"""Peak memory of a step, and held-out quality at equal tokens on planted factors, against the libraries of the field."""

from __future__ import annotations

import multiprocessing
import resource
import statistics

import numpy as np
import torch
from sae_peers import CONTENDERS, Shape, start

from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig
from petriscope.sae.loader import TokenSource
from petriscope.sae.quality import quality as judge
from petriscope.sae.quality import recovery
from petriscope.sae.train import train_sae

D, FACTORS, M, K, BATCH, STEPS, LR = 64, 384, 512, 10, 512, 2000, 3e-3


def memory(shape: Shape, only: str) -> None:
    """MiB of resident peak over the library's import, each contender in a process of its own."""
    print(f"\n{shape}: resident peak of three steps over import, MiB")
    for contender in (c for c in CONTENDERS if only in c.label):
        receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(
            target=_peak, args=(contender.label, shape, sender), daemon=True
        )
        process.start()
        sender.close()
        try:
            print(f"{contender.label:36s}{receiver.recv():9.0f}")
        except EOFError:
            print(f"{contender.label:36s}   left out (does not import)")
        process.join()


def _peak(label: str, shape: Shape, sender: object) -> None:
    torch.set_num_threads(1)
    contender = next(c for c in CONTENDERS if c.label == label)
    small = Shape(16, 64, 2, 32)
    contender.make(small, start(small, 0.0), contender.variant, contender.precision)(torch.randn(32, 16))
    x, begin = torch.randn(shape.batch, shape.d), start(shape, 0.0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step = contender.make(shape, begin, contender.variant, contender.precision)
    for _ in range(3):
        step(x.clone())
    sender.send((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


def planted(n: int, seed: int) -> np.ndarray:
    """n superpositions: 384 factors in 64 dimensions, power-law frequencies, pairs that fire together, noise."""
    rng = np.random.default_rng([seed, 7])
    rate = np.minimum(0.3, 1.6 / np.arange(1, FACTORS + 1) ** 0.9)
    fired = rng.random((n, FACTORS), dtype=np.float32) < rate
    fired[:, 1::8] |= fired[:, ::8] & (rng.random((n, FACTORS // 8)) < 0.5)
    strength = rng.gamma(4, 0.25, (n, FACTORS)).astype(np.float32)
    noise = 0.05 * rng.standard_normal((n, D), dtype=np.float32)
    return (fired * strength) @ factors() + noise


def factors() -> np.ndarray:
    rows = np.random.default_rng(3).standard_normal((FACTORS, D), dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def quality(seeds: int) -> None:
    """Held-out FVU, matched cosine, recovery and dead share: same data, tokens, k, rate and schedule."""
    data, heldout = planted(400_000, 0), planted(20_000, 1)
    print(f"\nd {D}, {FACTORS} factors, m {M}, k {K}, {STEPS * BATCH:,} tokens, lr {LR:g}, {seeds} seeds: mean ± s.e.")
    print(f"{'':34s}{'FVU':>16s}{'MMCS':>16s}{'recovered':>16s}{'dead':>16s}")
    for variant in ("batchtopk", "topk"):
        for label, train in (("petriscope", _ours), ("dictionary_learning", _theirs)):
            try:
                rows = [_judge(train(variant, data, seed), heldout) for seed in range(seeds)]
            except ImportError:
                print(f"{label + ' ' + variant:34s}  left out (does not import)")
                continue
            cells = [
                f"{statistics.mean(c):8.4f} ±{statistics.stdev(c) / len(c) ** 0.5:.4f}" for c in zip(*rows, strict=True)
            ]
            print(f"{label + ' ' + variant:34s}" + "".join(f"{cell:>16s}" for cell in cells), flush=True)


def _config(variant: str, seed: int) -> SAEConfig:
    return SAEConfig(d=D, m=M, k=K, variant=variant, batch=BATCH, steps=STEPS, lr=LR, seed=seed).resolved()


def _ours(variant: str, data: np.ndarray, seed: int) -> SAE:
    return train_sae(_config(variant, seed), TokenSource(data), heldout=None, progress=False).sae


def _theirs(variant: str, data: np.ndarray, seed: int) -> SAE:
    """dictionary_learning's trainer on the same stream, schedule, dead rule and scale; its weights judged by our code."""
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    config, source = _config(variant, seed), TokenSource(data)
    scale = (D / float(np.square(source.sample(16_384, seed)).sum(1).mean())) ** 0.5
    trainer = (BatchTopKTrainer if variant == "batchtopk" else TopKTrainer)(
        steps=STEPS, activation_dim=D, dict_size=M, k=K, layer=0, lm_name="none", lr=LR, warmup_steps=config.warmup,
        decay_start=STEPS - config.decay, threshold_beta=config.threshold_beta,
        threshold_start_step=config.threshold_start, seed=seed, device="cpu",
    )  # fmt: skip
    trainer.dead_feature_threshold = config.dead_after_tokens
    for step, x in zip(range(STEPS), source.batches(BATCH, seed), strict=False):
        trainer.update(step, x * scale)
    ae = trainer.ae
    tensors = (ae.encoder.weight, ae.encoder.bias, ae.decoder.weight.T, ae.b_dec)
    kept = [t.detach().clone().contiguous() for t in tensors]
    return SAE(config, *kept, scale=scale, threshold=max(float(ae.threshold), 0.0))


def _judge(sae: SAE, heldout: np.ndarray) -> tuple[float, float, float, float]:
    found, matched = judge(sae, heldout), recovery(sae, factors())
    return found.fvu, float(matched.best_cosine.mean()), matched.recovered(0.9), found.dead_fraction
