"""A model of the user's own is built by the adapter that params.yaml names, checked at the door,
and driven like EpiBERT."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from petriscope.errors import UserError
from petriscope.files import atomic_path
from petriscope.probe.model import NO_EDITS, Edit, ProbeOutput, check_run
from petriscope.studies.chromatin.model.base import (
    ATAC_BIN,
    TOKEN,
    Batch,
    ChromatinModel,
    TokenIndex,
    stable_bytes,
)

FILE_FORMAT = "petriscope-adapted-1"
FIELD = "model.adapter"


@dataclass(frozen=True)
class Build:
    """What an adapter is called with. Torch's generator is seeded before the call."""

    length: int
    """bp of a window; a token covers 128 bp."""
    crop: int
    """Tokens without a prediction at either edge."""
    motifs: int
    """M, entries of the motif-activity vector."""
    layers: int
    d_model: int
    heads: int
    """What params.yaml asks of a model built from scratch; one whose weights say otherwise may
    ignore them."""
    weights: str | None
    """Absolute path of `model.weights`, in whatever form the adapter reads; None: from scratch."""
    random: bool = False
    """Build the architecture only, with random values: weights follow, or it is the random-model
    control."""


class Adapted(Protocol):
    """What an adapter returns: a `ProbedModel` that need not resume, and where its tokens lie."""

    @property
    def name(self) -> str: ...

    @property
    def n_layers(self) -> int: ...

    @property
    def d_model(self) -> int: ...

    def tokens(self, batch: Batch) -> TokenIndex:
        """Where the tokens of ``batch`` lie."""
        ...

    def run(
        self, batch: Batch, capture: Sequence[int] = (), edits: Mapping[int, Edit] = NO_EDITS
    ) -> ProbeOutput:
        """`ProbedModel.run`, without ``resume``."""
        ...


class AdaptedModel(ChromatinModel):
    """An adapter's model driven like EpiBERT. What it lacks is made up for: resuming runs a whole
    pass on blank input.

    That is exact where each block reads nothing but the residual stream, which `check_adapted`
    tests.
    """

    def __init__(self, inner: nn.Module, build: Build, source: AdapterSource) -> None:
        super().__init__()
        self.inner, self.build, self.source = inner, build, source
        self.name = str(self.probed.name)

    @property
    def probed(self) -> Adapted:
        """What the adapter built, as the protocol sees it."""
        return cast(Adapted, self.inner)

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return int(self.probed.n_layers)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.probed.d_model)

    @property
    def crop(self) -> int:
        """Tokens without a prediction at either edge."""
        return self.build.crop

    def tokens(self, batch: Batch) -> TokenIndex:
        """Where the tokens of ``batch`` lie."""
        return self.probed.tokens(batch)

    def sequence_features(self, sequence: Tensor) -> Tensor:
        """The sequence itself: an adapter has no branch that could be shared."""
        return sequence

    def run(
        self,
        batch: Batch | None,
        capture: Sequence[int] = (),
        edits: Mapping[int, Edit] = NO_EDITS,
        *,
        resume: tuple[int, Tensor] | None = None,
        sequence_features: Tensor | None = None,
    ) -> ProbeOutput:
        """`EpiBERT.run` on the adapter's own `run`, which receives one row of sequence per row of
        accessibility."""
        if resume is not None:
            layer, hidden = resume
            edits = {k: edit for k, edit in edits.items() if k > layer} | {
                layer: _replaced(hidden, edits.get(layer))
            }
            return self.probed.run(self._blank(hidden), capture=tuple(capture), edits=edits)
        if batch is None:
            what = "there is neither a batch nor a hidden state to resume from"
            raise UserError(what, field="batch", remedy="Give one.")
        sequence = batch.sequence if sequence_features is None else sequence_features
        if sequence is None:
            raise UserError(
                "there is neither sequence nor its features",
                field="sequence",
                remedy="Give one of them.",
            )
        rows = len(batch.atac)
        if len(sequence) != rows:
            sequence = sequence.repeat_interleave(rows // len(sequence), dim=0)
        return self.probed.run(
            Batch(sequence, batch.atac, batch.motif), capture=tuple(capture), edits=edits
        )

    def start_at_mean(self, mean: float) -> None:
        """Passed on to an adapter that has the method; others start where they start."""
        if hasattr(self.inner, "start_at_mean"):
            self.inner.start_at_mean(mean)  # type: ignore[operator]

    def reinitialized(self, seed: int) -> AdaptedModel:
        """The same architecture with random weights, in eval mode."""
        return build_adapted(self.source, replace(self.build, random=True), seed).eval()

    def save_safetensors(self, path: str | Path) -> None:
        """Weights, what it was built with, and which adapter (its name and hash, never its
        code)."""
        state = {
            name: value.contiguous().cpu().clone()
            for name, value in self.inner.state_dict().items()
        }
        record = {
            "adapter": self.source.spec,
            "sha256": self.source.sha256,
            "build": json.dumps(asdict(self.build)),
        }
        with atomic_path(path) as temporary:
            temporary.write_bytes(stable_bytes(state, {"format": FILE_FORMAT, **record}))

    def _blank(self, hidden: Tensor) -> Batch:
        rows, count, _ = hidden.shape
        sizes = (
            (rows, count * TOKEN, 4),
            (rows, count * TOKEN // ATAC_BIN, 1),
            (rows, 1, self.build.motifs),
        )
        return Batch(
            *(torch.zeros(size, dtype=hidden.dtype, device=hidden.device) for size in sizes)
        )


def _replaced(hidden: Tensor, edit: Edit | None) -> Edit:
    return lambda _: hidden if edit is None else edit(hidden)


@dataclass(frozen=True)
class AdapterSource:
    """Which adapter: ``spec`` as in params.yaml, the callable it names, and the hash of its
    file."""

    spec: str
    make: Callable[[Build], Any]
    sha256: str


def find_adapter(spec: str, root: Path) -> AdapterSource:
    """Import `FILE.py:NAME` (relative to ``root``) or `package.module:NAME`. This runs the user's
    own code.

    Raises `UserError` naming what is missing.
    """
    where, _, name = spec.partition(":")
    form = "Write FILE.py:NAME or package.module:NAME."
    if not where or not name.isidentifier():
        raise UserError(f"is {spec!r}", field=FIELD, remedy=form)
    try:
        if where.endswith(".py"):
            path = (root / Path(where).expanduser()).resolve()
            found = importlib.util.spec_from_file_location(f"petriscope_adapter_{path.stem}", path)
            assert found is not None and found.loader is not None
            module = importlib.util.module_from_spec(found)
            found.loader.exec_module(module)
        else:
            module = importlib.import_module(where)
    except FileNotFoundError:
        raise UserError(
            f"names {root / where}, which does not exist", field=FIELD, remedy=form
        ) from None
    except ModuleNotFoundError as error:
        remedy = "Install it (the example needs `pip install -e '.[docs]'`), or correct the name."
        raise UserError(
            f"{where} cannot be imported: no module {error.name!r}", field=FIELD, remedy=remedy
        ) from None
    except (SyntaxError, ImportError) as error:
        raise UserError(
            f"{where} cannot be imported ({error})",
            field=FIELD,
            remedy=f"`python {where}` shows the line."
            if where.endswith(".py")
            else f"`python -m {where}` shows the line.",
        ) from None
    if not callable(getattr(module, name, None)):
        raise UserError(f"{where} has no class or function {name!r}", field=FIELD, remedy=form)
    file = Path(module.__file__ or "")
    digest = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else ""
    return AdapterSource(spec, getattr(module, name), digest)


def build_adapted(source: AdapterSource, build: Build, seed: int) -> AdaptedModel:
    """Call the adapter with torch's generator at ``seed``. Raises `UserError` where it is not a
    probed torch module."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        inner = source.make(build)
    lacks = [
        name
        for name in ("name", "n_layers", "d_model", "tokens", "run")
        if not hasattr(inner, name)
    ]
    if not isinstance(inner, nn.Module) or next(inner.parameters(), None) is None:
        raise _refuse(source, "does not return a torch module with parameters")
    if lacks:
        raise _refuse(source, f"lacks {', '.join(lacks)}")
    return AdaptedModel(inner, build, source)


def adapted_from_safetensors(path: Path, named: str | None, root: Path) -> AdaptedModel:
    """The model that `AdaptedModel.save_safetensors` wrote, rebuilt by the adapter that params.yaml
    names *now*.

    Only that code runs, never any from the file; raises `UserError` where it is not the one the
    weights belong to.
    """
    with safe_open(path, framework="pt") as file:
        record = file.metadata()
        # not a mapping: without keys() it cannot be gone through
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    again = "Run `petriscope stage model`."
    if named is None or named != record["adapter"]:
        what = f"was built by {record['adapter']}, params.yaml names {named}"
        raise UserError(what, file=path, field=FIELD, remedy=again)
    source = find_adapter(named, root)
    if source.sha256 != record["sha256"]:
        raise UserError(
            f"was built by another version of {named}", file=path, field=FIELD, remedy=again
        )
    model = build_adapted(
        source, replace(Build(**json.loads(record["build"])), random=True), seed=0
    )
    try:
        model.inner.load_state_dict(state)
    except RuntimeError as error:
        raise UserError(
            f"does not fit what {named} builds ({error})", file=path, remedy=again
        ) from None
    return model.eval()


def adapter_record(path: Path) -> dict[str, str] | None:
    """What `AdaptedModel.save_safetensors` noted in ``path``; None for anything else, readable or
    not."""
    try:
        with safe_open(path, framework="pt") as file:
            record: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError):
        return None
    return record if record.get("format") == FILE_FORMAT else None


@torch.inference_mode()
def check_adapted(model: AdaptedModel, seed: int = 0) -> None:
    """Try the protocol on two random rows: shapes, determinism, edits, resuming. Raises `UserError`
    saying what fails.

    ``model`` in eval mode. Costs one pass per layer.
    """
    build, source = model.build, model.source
    generator = torch.Generator().manual_seed(seed)
    count, device = build.length // TOKEN, next(model.parameters()).device
    letters = torch.randint(0, 4, (1, build.length), generator=generator)
    atac = torch.rand(2, build.length // ATAC_BIN, 1, generator=generator) * 4
    motif = torch.rand(2, 1, build.motifs, generator=generator)
    batch = Batch(
        nn.functional.one_hot(letters, 4).float().to(device), atac.to(device), motif.to(device)
    )
    index, layers = model.tokens(batch), range(model.n_layers + 1)
    if index.width != TOKEN or len(index.start) != count:
        raise _refuse(
            source,
            f"has {len(index.start)} tokens of {index.width} bp, the stages need {count} of "
            f"{TOKEN}",
        )
    if list(range(count))[index.predicted] != list(range(build.crop, count - build.crop)):
        raise _refuse(
            source,
            f"predicts tokens {index.predicted}, windows.crop leaves {build.crop} to {count} - "
            f"crop",
        )
    plain = check_run(model, batch, layers, lambda what: _refuse(source, what))
    if tuple(plain.prediction.shape) != (2, count - 2 * build.crop, 1):
        raise _refuse(source, f"predicts shape {tuple(plain.prediction.shape)}")
    for layer, found in plain.hidden.items():
        if found.shape[:2] != (2, count):
            expected = (2, count, model.d_model)
            raise _refuse(source, f"captures {tuple(found.shape)} at layer {layer}, not {expected}")
    if torch.equal(*plain.hidden[model.n_layers]):
        raise _refuse(source, "does not read accessibility, so that no context could ever differ")


def _refuse(source: AdapterSource, what: str) -> UserError:
    return UserError(
        f"{source.spec} {what}",
        field=FIELD,
        remedy="See docs/your-model.md for what an adapter must offer.",
    )
