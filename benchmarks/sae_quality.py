"""Peak memory of a step, and held-out quality at equal tokens on planted factors, against the
libraries of the field."""

from __future__ import annotations

import dataclasses
import itertools
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from sae_peers import CONTENDERS, Shape, start

from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig
from petriscope.sae.judge import quality as judge
from petriscope.sae.judge import recovery
from petriscope.sae.loader import TokenSource
from petriscope.sae.train import train_dictionary

D, FACTORS, M, K, BATCH, STEPS, LR = 64, 384, 512, 10, 512, 2000, 3e-3
HELDOUT = 200_000  # a latent that fires on fewer than one token in so many counts as dead


def memory(shape: Shape, only: Sequence[str]) -> None:
    """MiB of resident peak over the library's import, each contender in a process of its own."""
    print(f"\n{shape}: resident peak of three steps over import, MiB")
    for contender in (c for c in CONTENDERS if any(part in c.label for part in only)):
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
    contender.make(small, start(small, 0.0), contender.variant, contender.precision)(
        torch.randn(32, 16)
    )
    x, begin = torch.randn(shape.batch, shape.d), start(shape, 0.0)
    before = _resident_peak()
    step = contender.make(shape, begin, contender.variant, contender.precision)
    for _ in range(3):
        step(x.clone())
    sender.send(_resident_peak() - before)


def _resident_peak() -> float:
    """MiB this process has held at most (Linux; ru_maxrss would begin with what its parent
    held)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def stream(shape: Shape, steps: int) -> None:
    """Peak of a process that trains on 20 M tokens stored in bf16, then reads on to the end of the
    epoch.

    One file of 2²⁰ rows stands for each of twenty shards: the loader sees 20,971,520 rows (43 GB at
    d 1024).
    """
    with tempfile.TemporaryDirectory(dir=".") as folder:
        path = Path(folder) / "shard.npy"
        rows = np.lib.format.open_memmap(path, mode="w+", dtype="V2", shape=(1 << 20, shape.d))
        for start in range(0, len(rows), 1 << 14):
            drawn = torch.randn(
                1 << 14, shape.d, generator=torch.Generator().manual_seed(start)
            ).bfloat16()
            rows[start : start + (1 << 14)] = drawn.view(torch.int16).numpy().view("V2")
        del rows
        receiver, sender = multiprocessing.get_context("spawn").Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(
            target=_stream, args=(shape, steps, path, sender)
        )
        process.start()
        sender.close()
        imported, trained, walked, tokens, seconds = receiver.recv()
        process.join()
    print(f"\n{shape}: {tokens:,} rows of {path.name} read, the first {steps * shape.batch:,} "
          f"trained on; resident peak "
          f"MiB: import {imported:.0f}, training {trained:.0f}, whole epoch {walked:.0f}; reading "
          f"{tokens / seconds:,.0f} "
          "rows per processor second")  # fmt: skip


def _stream(shape: Shape, steps: int, path: Path, sender: Connection) -> None:
    torch.set_num_threads(1)
    peaks = [_resident_peak()]
    source = TokenSource([path] * 20)
    config = SAEConfig(d=shape.d, m=shape.m, k=shape.k, batch=shape.batch, steps=steps)
    train_dictionary(config, source, heldout=None, progress=False)
    peaks.append(_resident_peak())
    begun, tokens = time.process_time(), 0
    for x in itertools.islice(source.batches(shape.batch, 0), source.n_tokens // shape.batch):
        tokens += len(x)
    sender.send((*peaks, _resident_peak(), tokens, time.process_time() - begun))


def planted(n: int, seed: int) -> np.ndarray:
    """n superpositions: 384 factors in 64 dimensions, power-law frequencies, pairs that fire
    together, noise."""
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
    """Held-out FVU, matched cosine, recovery and dead share: same data, tokens, k, rate and
    schedule for every library.

    Each dictionary is judged twice: with its own inference rule, and (column "as topk") with the k
    largest of each token, which shows whether BatchTopK and TopK differ in what they learn or in
    what they keep.
    """
    data, heldout = planted(400_000, 0), planted(HELDOUT, 1)
    print(
        f"\nd {D}, {FACTORS} factors, m {M}, k {K}, {STEPS * BATCH:,} tokens, lr {LR:g}, {seeds} "
        f"seeds, judged on "
        f"{HELDOUT:,} others: mean ± s.e."
    )
    names = ("FVU", "L0", "MMCS", "recovered", "dead", "as topk")
    print(f"{'':34s}" + "".join(f"{name:>17s}" for name in names))
    for variant in ("batchtopk", "topk"):
        for label, train in TRAINERS.items():
            try:
                rows = [_judge(train(variant, data, seed), heldout) for seed in range(seeds)]
            except ImportError:
                print(f"{label + ' ' + variant:34s}  left out (does not import)")
                continue
            if rows[0] is None:
                continue
            cells = [
                f"{statistics.mean(c):9.4f} ±{statistics.stdev(c) / len(c) ** 0.5:.4f}"
                for c in zip(*rows, strict=True)
            ]
            print(
                f"{label + ' ' + variant:34s}" + "".join(f"{cell:>17s}" for cell in cells),
                flush=True,
            )


def _config(variant: str, seed: int) -> SAEConfig:
    return SAEConfig(
        d=D, m=M, k=K, variant=variant, batch=BATCH, steps=STEPS, lr=LR, seed=seed
    ).resolved()


def _ours(variant: str, data: np.ndarray, seed: int) -> SAE:
    return train_dictionary(
        _config(variant, seed), TokenSource(data), heldout=None, progress=False
    ).sae


def _theirs(variant: str, data: np.ndarray, seed: int) -> SAE:
    """dictionary_learning's trainer on the same stream, schedule, dead rule and scale; its weights
    judged by our code."""
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
    return _sae(variant, seed, tensors, scale, float(ae.threshold))


def _sae_lens(variant: str, data: np.ndarray, seed: int) -> SAE:
    """SAELens' training SAE with its defaults, our stream, schedule, clip, dead rule and scale."""
    from sae_lens import (
        BatchTopKTrainingSAE,
        BatchTopKTrainingSAEConfig,
        TopKTrainingSAE,
        TopKTrainingSAEConfig,
    )
    from sae_lens.saes.sae import TrainStepInput

    sizes = {"d_in": D, "d_sae": M, "k": K}
    torch.manual_seed(seed)
    if variant == "batchtopk":
        sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**sizes))
    else:
        # rescaling by the decoder's norm with sparse activations raises on a CPU
        sae = TopKTrainingSAE(TopKTrainingSAEConfig(**sizes, use_sparse_activations=False))

    def loss(x: torch.Tensor, dead: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        given = TrainStepInput(
            sae_in=x,
            coefficients={},
            dead_neuron_mask=dead,
            n_training_steps=1,
            is_logging_step=False,
        )
        output = sae.training_forward_pass(given)
        return output.loss, output.feature_acts

    scale = _fit(variant, data, seed, sae, loss, lambda: None)
    norm = sae.W_dec.norm(dim=1)
    tensors = (sae.W_enc.T * norm[:, None], sae.b_enc * norm, sae.W_dec / norm[:, None], sae.b_dec)
    threshold = float(sae.topk_threshold) if variant == "batchtopk" else 0.0
    return _sae(variant, seed, tensors, scale, threshold)


def _sparsify(variant: str, data: np.ndarray, seed: int) -> SAE | None:
    """EleutherAI sparsify's coder (TopK alone) with Adam, our stream, schedule, clip, dead rule and
    scale."""
    if variant != "topk":
        return None
    from sparsify import SparseCoder, SparseCoderConfig

    torch.manual_seed(seed)
    coder = SparseCoder(D, SparseCoderConfig(num_latents=M, k=K))

    def loss(x: torch.Tensor, dead: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        output = coder(x, dead_mask=dead)
        acts = torch.zeros(len(x), M).scatter(1, output.latent_indices, output.latent_acts.detach())
        return output.fvu + output.auxk_loss / 32, acts

    scale = _fit(variant, data, seed, coder, loss, coder.set_decoder_norm_to_unit_norm)
    return _sae(
        variant,
        seed,
        (coder.encoder.weight, coder.encoder.bias, coder.W_dec, coder.b_dec),
        scale,
        0.0,
    )


def _fit(
    variant: str,
    data: np.ndarray,
    seed: int,
    module: torch.nn.Module,
    loss: Callable[[torch.Tensor, torch.Tensor | None], tuple[torch.Tensor, torch.Tensor]],
    after: Callable[[], None],
) -> float:
    """Train a peer's module by Adam; returns the input scale."""
    config, source = _config(variant, seed), TokenSource(data)
    scale = (D / float(np.square(source.sample(16_384, seed)).sum(1).mean())) ** 0.5
    adam, silent = torch.optim.Adam(module.parameters(), lr=LR), torch.zeros(M)
    for step, x in zip(range(STEPS), source.batches(BATCH, seed), strict=False):
        adam.param_groups[0]["lr"] = config.learning_rate(step)
        dead = silent >= config.dead_after_tokens
        value, acts = loss(x * scale, dead if bool(dead.any()) else None)
        value.backward()
        if hasattr(module, "remove_gradient_parallel_to_decoder_directions"):
            module.remove_gradient_parallel_to_decoder_directions()
        torch.nn.utils.clip_grad_norm_(module.parameters(), config.clip)
        adam.step()
        adam.zero_grad()
        after()
        silent = torch.where((acts > 0).any(0), 0.0, silent + len(x))
    return scale


def _sae(
    variant: str, seed: int, tensors: tuple[torch.Tensor, ...], scale: float, threshold: float
) -> SAE:
    kept = [t.detach().clone().contiguous() for t in tensors]
    return SAE(_config(variant, seed), *kept, scale=scale, threshold=max(threshold, 0.0))


def _judge(sae: SAE | None, heldout: np.ndarray) -> tuple[float, ...] | None:
    if sae is None:
        return None
    found, matched = judge(sae, heldout), recovery(sae, factors())
    as_topk = judge(
        dataclasses.replace(sae, config=dataclasses.replace(sae.config, variant="topk")), heldout
    )
    cosine, share = float(matched.best_cosine.mean()), matched.recovered(0.9)
    return found.fvu, found.l0, cosine, share, found.dead_fraction, as_topk.fvu


TRAINERS: dict[str, Callable[[str, np.ndarray, int], SAE | None]] = {
    "petriscope": _ours,
    "dictionary_learning": _theirs,
    "sae_lens": _sae_lens,
    "sparsify": _sparsify,
}
