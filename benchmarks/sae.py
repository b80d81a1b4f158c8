"""SAE step and encoding speed against the libraries of the field: interleaved rounds in one run,
medians of ratios.

    python benchmarks/sae.py                         # A, one thread, all alive and 10 % dead (under
    three minutes) python benchmarks/sae.py --config B --rounds 4 python benchmarks/sae.py --threads
    2             # wall time python benchmarks/sae.py --what encode           # vectors to CSR
    python benchmarks/sae.py --what memory           # peak of a step over import python
    benchmarks/sae.py --what stream --config B   # 20 M bf16 vectors through the loader (2 GB of
    disk) python benchmarks/sae.py --what quality --rounds 3  # rounds are seeds

Peers are optional: pip install dictionary-learning==0.1.0 sae-lens==6.54.12 eai-sparsify==1.3.3
overcomplete==0.3.0 (then pip uninstall torchvision, beside which sae-lens does not import with a
CPU torch). With one thread, time is the process's processor time, which a busy machine disturbs
least; with more it is wall time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import sae_quality
import torch
from sae_peers import CONTENDERS, Contender, Shape, Step, start

SHAPES = {
    "A": Shape(512, 4096, 32, 2048),
    "B": Shape(1024, 8192, 64, 1024),
    "C": Shape(1024, 16384, 64, 4096),
}
DEMO = Shape(96, 768, 12, 1024)


def batches(shape: Shape, count: int) -> list[torch.Tensor]:
    """Superpositions of 3·d sparse factors, scaled to E‖x‖² = d."""
    rng = torch.Generator().manual_seed(1)
    factors = torch.nn.functional.normalize(torch.randn(3 * shape.d, shape.d, generator=rng), dim=1)
    made = []
    for _ in range(count):
        active = torch.rand(shape.batch, 3 * shape.d, generator=rng) < 0.03
        x = (active * torch.rand(shape.batch, 3 * shape.d, generator=rng)) @ factors
        made.append(x * (shape.d / x.square().sum(1).mean()) ** 0.5)
    return made


def bound_ms(shape: Shape, clock: Callable[[], float], dtype: torch.dtype) -> float:
    """The bound: one dense encoder product, plus five sparse products as float32 work at the
    product's own speed."""
    x, W = torch.randn(shape.batch, shape.d), torch.randn(shape.m, shape.d)
    left, right = x.to(dtype), W.to(dtype)
    rounds = []
    for _ in range(4):
        begun = clock()
        torch.mm(left, right.T)
        rounds.append(1e3 * (clock() - begun))
    return statistics.median(rounds[1:])


def available(wanted: tuple[Contender, ...], make: Callable[[Contender], Step]) -> dict[str, Step]:
    """The contenders whose library imports; says which do not."""
    steps = {}
    for contender in wanted:
        try:
            steps[contender.label] = make(contender)
        except (ImportError, RuntimeError) as error:
            print(
                f"  left out: {contender.label} ({type(error).__name__}: "
                f"{str(error).splitlines()[0][:70]})"
            )
    return steps


def interleaved(
    steps: dict[str, Step], data: list[torch.Tensor], clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Milliseconds of every contender in every round (the first round, which warms up, is left
    out)."""
    times: dict[str, list[float]] = {label: [] for label in steps}
    for number, x in enumerate(data):
        for label, step in steps.items():
            given = x.clone()
            begun = clock()
            step(given)
            if number:
                times[label].append(1e3 * (clock() - begun))
    return times


def report(times: dict[str, list[float]], marks: dict[str, float], rivals: tuple[str, str]) -> None:
    """A row per contender: median time, and medians over rounds of the paired ratios."""
    ours = [label for label in rivals if label in times]
    head = "".join(f"{'x of ' + label.removeprefix('petriscope '):>28s}" for label in ours)
    print(f"{'':36s}{'ms':>9s}{head}{'of float32 product':>20s}")
    for label, rounds in times.items():
        ratios = "".join(
            f"{statistics.median(a / b for a, b in zip(rounds, times[o], strict=True)):28.2f}"
            for o in ours
        )
        print(
            f"{label:36s}{statistics.median(rounds):9.1f}{ratios}{statistics.median(rounds) / marks['float32']:20.2f}"
        )


def steps(
    shape: Shape, rounds: int, clock: Callable[[], float], dead: float, only: Sequence[str]
) -> None:
    """Training steps."""
    begin = start(shape, dead)
    marks = {
        "float32": bound_ms(shape, clock, torch.float32),
        "bf16": bound_ms(shape, clock, torch.bfloat16),
    }
    sparse = 5 * shape.k / shape.m * marks["float32"]
    print(f"\n{shape}, {dead:.0%} dead: bound = encoder product (float32 {marks['float32']:.1f} "
          f"ms, bf16 "
          f"{marks['bf16']:.1f} ms) + sparse work {sparse:.1f} ms")  # fmt: skip
    wanted = tuple(c for c in CONTENDERS if any(part in c.label for part in only))
    contenders = available(wanted, lambda c: c.make(shape, begin, c.variant, c.precision))
    times = interleaved(contenders, batches(shape, rounds + 1), clock)
    report(times, marks, ("petriscope batchtopk bf16 filter", "petriscope topk bf16 filter"))


def encode(shape: Shape, rounds: int, clock: Callable[[], float]) -> None:
    """Vectors to sparse codes (CSR) with a trained-like threshold."""
    from petriscope.sae.coder import SAE
    from petriscope.sae.config import SAEConfig

    begin, data = start(shape, 0.0), batches(shape, rounds + 1)
    values = (data[0] @ begin.W.T).flatten()
    threshold = float(values.topk(shape.k * shape.batch).values[-1])
    sae = SAE(SAEConfig(d=shape.d, m=shape.m, k=shape.k), begin.W, torch.zeros(shape.m), begin.W,
              torch.zeros(shape.d), 1.0, threshold)  # fmt: skip

    def of_dictionary_learning() -> Step:
        from dictionary_learning.trainers.batch_top_k import BatchTopKSAE

        theirs = BatchTopKSAE(shape.d, shape.m, shape.k)
        theirs.encoder.weight.data.copy_(begin.W)
        theirs.threshold.fill_(threshold)
        return lambda x: theirs.encode(x).detach().to_sparse_csr()

    def of_sae_lens() -> Step:
        from sae_lens.saes.jumprelu_sae import JumpReLUSAE, JumpReLUSAEConfig

        theirs = JumpReLUSAE(JumpReLUSAEConfig(d_in=shape.d, d_sae=shape.m))
        theirs.W_enc.data.copy_(begin.W.T)
        theirs.threshold.data.fill_(threshold)
        return lambda x: theirs.encode(x).detach().to_sparse_csr()

    contenders: dict[str, Step] = {"petriscope encode": sae.encode}
    for label, make in (
        ("dictionary_learning encode", of_dictionary_learning),
        ("sae_lens encode", of_sae_lens),
    ):
        try:
            contenders[label] = make()
        except (ImportError, RuntimeError) as error:
            print(f"  left out: {label} ({type(error).__name__})")
    print(f"\n{shape}: encoding {shape.batch} vectors to CSR")
    marks = {"float32": bound_ms(shape, clock, torch.float32)}
    report(interleaved(contenders, data, clock), marks, ("petriscope encode", ""))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--what", choices=("step", "encode", "memory", "stream", "quality"), default="step"
    )
    parser.add_argument("--config", choices=(*SHAPES, "demo"), default="A")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--dead", type=float, nargs="+", default=(0.0, 0.1), help="shares of dead latents"
    )
    parser.add_argument(
        "--only", nargs="+", default=("",), help="contenders whose label contains one of these"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = time.process_time if args.threads == 1 else time.perf_counter
    shape = SHAPES.get(args.config, DEMO)
    if args.what == "step":
        for dead in args.dead:
            steps(shape, args.rounds, clock, dead, args.only)
    elif args.what == "encode":
        encode(shape, args.rounds, clock)
    elif args.what == "memory":
        sae_quality.memory(shape, args.only)
    elif args.what == "stream":
        sae_quality.stream(shape, 20 * args.rounds)
    else:
        sae_quality.quality(args.rounds)


if __name__ == "__main__":
    main()
