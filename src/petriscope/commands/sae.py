"""`petriscope sae`: train a sparse autoencoder on any stream of vectors, without any model; encode
vectors with it; export and import other libraries' formats."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np

from petriscope.device import choose_device
from petriscope.errors import UserError
from petriscope.files import claim, write_json
from petriscope.probe.harvest import Hidden
from petriscope.probe.shards import Store, holds_shards
from petriscope.probe.tokens import Tokens
from petriscope.sae.coder import DICTIONARY, SAE, encode_stream
from petriscope.sae.codes import CODES, writing_codes
from petriscope.sae.config import VARIANTS, SAEConfig
from petriscope.sae.exchange import EXPORTED, FORMATS, Given
from petriscope.sae.loader import TokenSource, open_shard
from petriscope.sae.sweep import sweep_learning_rate
from petriscope.sae.train import train_dictionary

_HELDOUT_TOKENS = 20_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `petriscope sae`."""
    verbs = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    train = verbs.add_parser("train", help="train on .npy files of vectors")
    train.add_argument(
        "--input",
        nargs="+",
        required=True,
        type=Path,
        help=".npy arrays (…, width), or folders of them",
    )
    train.add_argument(
        "--out", required=True, type=Path, help="folder for cfg.json, sae.safetensors, metrics.json"
    )
    train.add_argument(
        "--latents", type=int, default=None, help="dictionary size (default: 8 x width)"
    )
    train.add_argument("--k", type=int, default=32, help="active latents per vector (default: 32)")
    train.add_argument("--variant", choices=VARIANTS, default="batchtopk")
    train.add_argument(
        "--tokens",
        type=int,
        default=2_000_000,
        help="vectors to train on; the input is re-read as needed",
    )
    train.add_argument("--batch", type=int, default=1024)
    train.add_argument(
        "--lr", default="auto", help="learning rate, or auto: a short sweep chooses (default)"
    )
    train.add_argument(
        "--l1", type=float, default=1.0, help="relu_l1 alone: weight of the sparsity term"
    )
    train.add_argument("--device", choices=("cpu", "cuda", "auto"), default="cpu")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument(
        "--block-rows", type=int, default=None, help="consecutive vectors read together"
    )
    encode = verbs.add_parser("encode", help="write sparse codes of .npy files of vectors")
    encode.add_argument("--sae", required=True, type=Path, help="folder of the autoencoder")
    encode.add_argument(
        "--input",
        required=True,
        type=Path,
        help=".npy array (…, width), or a folder that Hidden.save wrote",
    )
    encode.add_argument(
        "--tokens",
        type=Path,
        default=None,
        help="folder of an .npy array's token axis (default: `tokens` beside it, if it is there)",
    )
    encode.add_argument("--out", required=True, type=Path, help="folder for the codes")
    encode.add_argument("--device", choices=("cpu", "cuda", "auto"), default="cpu")
    for verb, line in (
        ("export", "write another library's format"),
        ("import", "read another library's format"),
    ):
        child = verbs.add_parser(verb, help=line)
        child.add_argument("source", type=Path)
        child.add_argument("target", type=Path)
        known = [n for n, one in FORMATS.items() if line.startswith("read") or one.save is not None]
        child.add_argument("--format", choices=known, required=True)
    child.add_argument(
        "--variant", choices=("relu_l1", "topk", "batchtopk"), help="where the file does not say it"
    )
    child.add_argument("--k", type=int, help="active latents, where the file does not say it")
    child.add_argument(
        "--threshold", type=float, help="BatchTopK's, where the file does not say it"
    )


def run(args: argparse.Namespace) -> int:
    """Train, encode, or convert a folder from or to another library's format."""
    if args.what == "export":
        save = FORMATS[args.format].save
        assert save is not None  # the parser offers no other format
        target = claim(args.target, EXPORTED[args.format], inputs=[args.source])
        save(SAE.load(args.source), target)
    elif args.what == "import":
        _import(args)
    elif args.what == "encode":
        _encode(args)
    else:
        _train(args)
    return 0


def _import(args: argparse.Namespace) -> None:
    """Read another library's autoencoder, and say as what."""
    target = claim(args.target, DICTIONARY, inputs=[args.source])
    given = Given(args.variant, args.k, args.threshold)
    sae = FORMATS[args.format].load(args.source, given)
    found = {"variant": sae.config.variant, "k": sae.config.k}
    for name, held in found.items():
        asked = getattr(given, name)
        if asked not in (None, held):
            raise UserError(
                f"is {asked}, the file says {held}",
                file=args.source,
                field=f"--{name}",
                remedy="Leave it out.",
            )
    if given.threshold is not None and args.format != "overcomplete":
        what = "is not asked for: this format holds its threshold"
        raise UserError(what, field="--threshold", remedy="Leave it out.")
    sae.save(target)
    print(f"{args.target}: {sae.heading}, threshold {sae.threshold:g}, k {sae.config.k}")


def _encode(args: argparse.Namespace) -> None:
    """Codes of an array or of saved hidden states, with the token axis beside them."""
    inputs = [path for path in (args.sae, args.input, args.tokens) if path is not None]
    out = claim(args.out, CODES, inputs=inputs, field="--out")
    sae = SAE.load(args.sae).to(choose_device(args.device))
    tokens: Tokens | None = None
    layer: int | None = None
    rows: Store
    if args.input.is_dir() and not holds_shards(args.input):
        hidden = Hidden.load(args.input)
        rows, layer, tokens = hidden.values, hidden.layer, hidden.tokens
    else:
        rows = open_shard(args.input)
        rows = rows.reshape(-1, rows.shape[-1])
        beside = args.tokens or args.input.parent / "tokens"
        if args.tokens is not None or beside.is_dir():
            tokens = Tokens.load(beside)
            tokens.check_rows(rows, str(args.input))
    count, entries = 0, 0
    with writing_codes(out, sae.m, tokens, layer) as writer:
        for _, codes in encode_stream(sae, rows, progress=True):
            writer.add(codes)
            count, entries = count + codes.n, entries + len(codes.values)
    where = "no token axis" if tokens is None else f"{len(tokens.windows):,} windows"
    print(f"{args.out}: {count:,} rows  L0 {entries / max(count, 1):.1f}  {where}")


def _train(args: argparse.Namespace) -> None:
    shards = [
        path
        for given in args.input
        for path in (sorted(given.glob("*.npy")) if given.is_dir() else [given])
    ]
    if not shards:
        raise UserError(
            "holds no .npy file", file=args.input[0], remedy="Save the vectors with numpy.save."
        )
    out = claim(args.out, DICTIONARY, inputs=[*args.input, *shards], field="--out")
    for option in ("batch", "block_rows", "latents", "k"):
        value = getattr(args, option)
        if value is not None and value < 1:
            field = f"--{option.replace('_', '-')}"
            raise UserError(f"is {value}", field=field, remedy="Give a positive number.")
    if args.tokens < args.batch:
        what = f"is {args.tokens}, less than one batch of {args.batch}"
        raise UserError(what, field="--tokens", remedy="Give more, or a smaller --batch.")
    every = TokenSource(shards, block_rows=args.block_rows)
    if len(every.blocks) < 2:
        raise UserError(
            "is one block, nothing can be held out",
            file=shards[0],
            remedy="Give a smaller --block-rows.",
        )
    config = SAEConfig(
        d=every.d, m=args.latents or 8 * every.d, k=args.k, variant=args.variant,
        batch=args.batch, l1=args.l1, steps=args.tokens // args.batch, seed=args.seed,
    )  # fmt: skip
    if args.lr != "auto":
        config = dataclasses.replace(config, lr=_rate(args.lr))
    checkpoint = args.out.with_name(f".{args.out.name}.checkpoint")
    device = choose_device(args.device)
    held, kept = _split(every, args.seed)
    source = TokenSource(shards, block_rows=every.block_rows, blocks=kept)
    heldout = TokenSource(shards, block_rows=every.block_rows, blocks=held).sample(
        _HELDOUT_TOKENS, args.seed
    )
    table = None
    if args.lr == "auto":
        sweep = sweep_learning_rate(config, source, heldout)
        config, table = sweep.config, sweep.table
        print(f"learning rate {config.lr:g} of {[row['lr'] for row in table]}")
    result = train_dictionary(
        config, source, heldout=heldout, checkpoint=checkpoint, device=device, name=out.name
    )
    assert result.quality is not None
    result.sae.save(out)
    write_json(
        out / "metrics.json",
        {"quality": result.quality.as_dict(), "history": result.history, "sweep": table},
    )
    _remove(checkpoint)
    found = result.quality
    print(f"{args.out}: FVU {found.fvu:.4f}  L0 {found.l0:.1f}  dead {found.dead_fraction:.1%}  "
          f"{result.tokens_per_second:,.0f} vectors/s")  # fmt: skip


def _split(source: TokenSource, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Blocks held out (a twentieth, at least one) and kept."""
    order = np.random.default_rng([seed, 0x4E1D]).permutation(source.blocks)
    n_held = max(1, len(order) // 20)
    return np.sort(order[:n_held]), np.sort(order[n_held:])


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UserError(
            f"is {text!r}", field="--lr", remedy="Give a number such as 0.003, or auto."
        ) from None


def _remove(checkpoint: Path) -> None:
    if checkpoint.is_dir():
        for item in checkpoint.iterdir():
            item.unlink()
        checkpoint.rmdir()
