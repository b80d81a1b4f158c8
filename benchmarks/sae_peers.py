"""One training step of each library on the same batch, as its own trainer does it: contenders for
`benchmarks/sae.py`."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable
from contextlib import nullcontext
from typing import NamedTuple

import torch

from petriscope.sae.config import SAEConfig
from petriscope.sae.step import Parameters
from petriscope.sae.train import Run

LR = 3e-4
Step = Callable[[torch.Tensor], None]


class Shape(NamedTuple):
    """A configuration of the benchmark."""

    d: int
    m: int
    k: int
    batch: int


class Start(NamedTuple):
    """Common initial weights; ``dead`` latents have encoders too weak ever to be selected."""

    W: torch.Tensor
    W_enc: torch.Tensor
    dead: torch.Tensor


def start(shape: Shape, dead_share: float) -> Start:
    W = torch.nn.functional.normalize(
        torch.randn(shape.m, shape.d, generator=torch.Generator().manual_seed(0)), dim=1
    )
    dead = torch.zeros(shape.m, dtype=torch.bool)
    if dead_share:
        dead[:: round(1 / dead_share)] = True
    return Start(W, torch.where(dead[:, None], 0.05 * W, W), dead)


def ours(shape: Shape, begin: Start, variant: str, precision: str) -> Step:
    """This project's step; ``precision`` of the filter alone, results are float32 either way."""
    config = SAEConfig(
        d=shape.d, m=shape.m, k=shape.k, variant=variant, batch=shape.batch, steps=100_000, lr=LR, warmup=0, decay=0,
        dead_after_tokens=10_000_000, aux_weight=1 / 32, aux_units="squared_error", filter=precision,
    ).resolved()  # fmt: skip
    parameters = Parameters(
        begin.W_enc.clone(), torch.zeros(shape.m), begin.W.clone(), torch.zeros(shape.d)
    )
    run = Run(config, parameters, scale=1.0, variance=float(shape.d))
    run.silent[begin.dead] = 20_000_000
    return run.advance


def dictionary_learning(shape: Shape, begin: Start, variant: str, precision: str) -> Step:
    """dictionary_learning's BatchTopKTrainer or TopKTrainer."""
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.top_k import TopKTrainer

    make = BatchTopKTrainer if variant == "batchtopk" else TopKTrainer
    trainer = make(
        steps=100_000, activation_dim=shape.d, dict_size=shape.m, k=shape.k, layer=0, lm_name="none", lr=LR,
        warmup_steps=0, threshold_start_step=0, seed=0, device="cpu",
    )  # fmt: skip
    trainer.ae.encoder.weight.data.copy_(begin.W_enc)
    trainer.ae.decoder.weight.data.copy_(begin.W.T)
    trainer.num_tokens_since_fired[begin.dead] = 20_000_000
    return lambda x: trainer.update(1, x)


def sae_lens(shape: Shape, begin: Start, variant: str, precision: str) -> Step:
    """SAELens' training step, in float32 or under its bf16 autocast."""
    from sae_lens import (
        BatchTopKTrainingSAE,
        BatchTopKTrainingSAEConfig,
        TopKTrainingSAE,
        TopKTrainingSAEConfig,
    )
    from sae_lens.saes.sae import TrainStepInput

    sizes = {"d_in": shape.d, "d_sae": shape.m, "k": shape.k, "rescale_acts_by_decoder_norm": False}
    if variant == "batchtopk":
        sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**sizes))
    else:
        sae = TopKTrainingSAE(TopKTrainingSAEConfig(**sizes, use_sparse_activations=False))
    sae.W_enc.data.copy_(begin.W_enc.T)
    sae.W_dec.data.copy_(begin.W)
    adam = torch.optim.Adam(sae.parameters(), lr=LR)
    mask = begin.dead if bool(begin.dead.any()) else None
    fired = torch.zeros(shape.m)
    cast = torch.autocast("cpu", dtype=torch.bfloat16) if precision == "bf16" else nullcontext()

    def step(x: torch.Tensor) -> None:
        with cast:
            given = TrainStepInput(
                sae_in=x,
                coefficients={},
                dead_neuron_mask=mask,
                n_training_steps=1,
                is_logging_step=False,
            )
            output = sae.training_forward_pass(given)
            with torch.no_grad():
                fired.add_(output.feature_acts.bool().float().sum(0))
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        adam.step()
        adam.zero_grad()

    return step


def sparsify(shape: Shape, begin: Start, variant: str, precision: str) -> Step:
    """EleutherAI sparsify's step (TopK alone) with Adam."""
    from sparsify import SparseCoder, SparseCoderConfig

    sae = SparseCoder(shape.d, SparseCoderConfig(num_latents=shape.m, k=shape.k))
    sae.encoder.weight.data.copy_(begin.W_enc)
    sae.W_dec.data.copy_(begin.W)
    adam = torch.optim.Adam(sae.parameters(), lr=LR)
    mask = begin.dead if bool(begin.dead.any()) else None

    def step(x: torch.Tensor) -> None:
        output = sae(x, dead_mask=mask)
        (output.fvu + output.auxk_loss / 32).backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        adam.step()
        adam.zero_grad()
        sae.set_decoder_norm_to_unit_norm()

    return step


def overcomplete(shape: Shape, begin: Start, variant: str, precision: str) -> Step:
    """overcomplete's BatchTopKSAE or TopKSAE with Adam (it has no AuxK: dead latents are left
    dead)."""
    if (
        "overcomplete" not in sys.modules
    ):  # its __init__ wants torchvision, for vision models that are not needed here
        spec = importlib.util.find_spec("overcomplete")
        if spec is None:
            raise ImportError("overcomplete is not installed")
        package = types.ModuleType("overcomplete")
        package.__path__ = list(spec.submodule_search_locations or ())
        sys.modules["overcomplete"] = package
    from overcomplete.sae import BatchTopKSAE, TopKSAE

    if variant == "batchtopk":
        sae = BatchTopKSAE(shape.d, nb_concepts=shape.m, top_k=shape.k * shape.batch)
    else:
        sae = TopKSAE(shape.d, nb_concepts=shape.m, top_k=shape.k)
    adam = torch.optim.Adam(sae.parameters(), lr=LR)

    def step(x: torch.Tensor) -> None:
        _, _, decoded = sae(x)
        (x - decoded).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        adam.step()
        adam.zero_grad()

    return step


class Contender(NamedTuple):
    """A library's setting."""

    label: str
    make: Callable[[Shape, Start, str, str], Step]
    variant: str
    precision: str


CONTENDERS = (
    Contender("petriscope batchtopk bf16 filter", ours, "batchtopk", "bf16"),
    Contender("petriscope batchtopk float32", ours, "batchtopk", "float32"),
    Contender("petriscope topk bf16 filter", ours, "topk", "bf16"),
    Contender("petriscope topk float32", ours, "topk", "float32"),
    Contender("dictionary_learning batchtopk", dictionary_learning, "batchtopk", "float32"),
    Contender("sae_lens batchtopk bf16 autocast", sae_lens, "batchtopk", "bf16"),
    Contender("sae_lens batchtopk float32", sae_lens, "batchtopk", "float32"),
    Contender("overcomplete batchtopk", overcomplete, "batchtopk", "float32"),
    Contender("overcomplete topk", overcomplete, "topk", "float32"),
    Contender("dictionary_learning topk", dictionary_learning, "topk", "float32"),
    Contender("sparsify topk", sparsify, "topk", "float32"),
)
