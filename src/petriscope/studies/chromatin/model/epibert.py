"""EpiBERT (Javed et al., Cell Genomics 2025) predicts accessibility from sequence, masked
accessibility and motif activity.

An exact port of the accessibility-pretrained TensorFlow model, with its residual stream open to be
read and edited.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from petriscope.errors import UserError
from petriscope.files import atomic_path
from petriscope.probe.model import NO_EDITS, Edit, ProbeOutput
from petriscope.studies.chromatin.model.base import Batch, ChromatinModel, TokenIndex, stable_bytes
from petriscope.studies.chromatin.model.epibert_config import ATAC_BIN, EpiBERTConfig
from petriscope.studies.chromatin.model.epibert_layers import (
    LN_EPSILON,
    AtacBranch,
    Block,
    Head,
    MotifBranch,
    SequenceBranch,
    initialize,
    projection_matrix,
    rotary_table,
)
from petriscope.studies.chromatin.model.epibert_original import our_arrays

__all__ = ["EpiBERT", "EpiBERTConfig", "one_hot"]

FILE_FORMAT = "petriscope-epibert-1"


def one_hot(codes: np.ndarray | Tensor) -> Tensor:
    """Codes (..., L), 0..3 = ACGT and 4 = N, to float32 (..., L, 4); N is all zero."""
    indices = torch.as_tensor(codes).long()
    return torch.cat([torch.eye(4), torch.zeros(1, 4)]).to(indices.device)[indices]


class EpiBERT(ChromatinModel):
    """EpiBERT with ``config``; weights are drawn from ``init_seed`` (None: left to torch) until
    others are loaded.

    Layer 0 of the residual stream is the projected input, layer k the output of block k before the
    final layer norm.
    """

    name = "epibert"
    feature_map: Tensor

    def __init__(self, config: EpiBERTConfig, *, init_seed: int | None = 0) -> None:
        super().__init__()
        self.config = config
        self.sequence = SequenceBranch(config)
        self.atac = AtacBranch(config)
        self.motif = MotifBranch(config)
        self.projection = nn.Linear(config.input_channels, config.d_model, bias=False)
        shape = (config.d_model, config.heads, config.head_dim, config.stabilizer, config.dropout)
        self.blocks = nn.ModuleList(Block(*shape) for _ in range(config.layers))
        self.final_norm = (
            nn.LayerNorm(config.d_model, eps=LN_EPSILON) if config.final_norm else nn.Identity()
        )
        self.head = Head(config)
        projection = projection_matrix(config.random_features, config.head_dim, config.seed)
        scaled = torch.from_numpy(projection / np.sqrt(np.float32(config.random_features)))
        self.register_buffer("feature_map", scaled, persistent=False)
        if init_seed is not None:
            initialize(self, torch.Generator().manual_seed(init_seed))

    @property
    def n_layers(self) -> int:
        """Number of blocks; the residual stream has one layer more."""
        return self.config.layers

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return self.config.d_model

    @property
    def crop(self) -> int:
        """Tokens without a prediction at either edge."""
        return self.config.crop

    def tokens(self, batch: Batch) -> TokenIndex:
        """Bins of ``token_width`` bp from the window's start; the crop at either side has no
        prediction."""
        count, width, crop = (
            batch.atac.shape[1] * ATAC_BIN // self.config.token_width,
            self.config.token_width,
            self.config.crop,
        )
        return TokenIndex(
            np.arange(count, dtype=np.int64) * width, width, slice(crop, count - crop)
        )

    def forward(self, sequence: Tensor, atac: Tensor, motif: Tensor) -> Tensor:
        """(B, L, 4), (B, L/4, 1), (B, 1, M) -> (B, T', 1), summed signal per token; L any number of
        whole tokens."""
        return self.run(Batch(sequence, atac, motif)).prediction

    def sequence_features(self, sequence: Tensor) -> Tensor:
        """Output of the sequence branch, (W, L, 4) -> (W, T, C); in eval mode it may be kept and
        shared."""
        width = self.config.token_width
        if (
            sequence.ndim != 3
            or sequence.shape[2] != 4
            or sequence.shape[1] % width
            or not sequence.shape[1]
        ):
            raise UserError(
                f"shape {tuple(sequence.shape)} is not (windows, length, 4) with a length of "
                f"whole {width}-bp tokens",
                field="sequence",
                remedy=f"Give one-hot sequence of a multiple of {width} bp.",
            )
        return self.sequence(sequence.to(self.projection.weight.dtype))

    def run(
        self,
        batch: Batch | None,
        capture: Sequence[int] = (),
        edits: Mapping[int, Edit] = NO_EDITS,
        *,
        resume: tuple[int, Tensor] | None = None,
        sequence_features: Tensor | None = None,
    ) -> ProbeOutput:
        """Run the model, reading the residual stream at ``capture`` and rewriting it by ``edits``,
        layer by layer.

        A captured layer is what the next block reads, after the edit. ``sequence_features`` (W, T,
        C) replaces the sequence branch. With W rows of sequence and W·S of accessibility, each
        window serves its S consecutive rows. ``resume=(k, hidden)`` starts from the residual stream
        (B, T, d) after layer k, applies ``edits[k]`` to it and runs only the blocks above; it needs
        no batch.
        """
        start = resume[0] if resume else 0
        self._check_layers(capture, edits, start)
        if resume:
            hidden = self._resumed(resume[1])
        elif batch is not None:
            hidden = self._input(batch, sequence_features)
        else:
            raise UserError(
                "there is neither a batch nor a hidden state to resume from",
                field="batch",
                remedy="Give one.",
            )
        captured: dict[int, Tensor] = {}
        rotary = self._rotary(hidden) if self.config.rotary else None
        for layer in range(start, self.n_layers + 1):
            if layer > start:
                hidden = self.blocks[layer - 1](hidden, self.feature_map, rotary)
            if layer in edits:
                hidden = self._edited(edits[layer], layer, hidden)
            if layer in capture:
                captured[layer] = hidden
        crop = self.config.crop
        profile = self.head(self.final_norm(hidden))
        return ProbeOutput(profile[:, crop : profile.shape[1] - crop], captured)

    def _check_layers(self, capture: Sequence[int], edits: Mapping[int, Edit], start: int) -> None:
        if not 0 <= start <= self.n_layers:
            raise UserError(
                f"layer {start} does not exist",
                field="resume",
                remedy=f"Choose 0 to {self.n_layers}.",
            )
        for field, layers in (("capture", capture), ("edits", edits)):
            for layer in layers:
                if not start <= layer <= self.n_layers:
                    raise UserError(
                        f"layer {layer} is not run",
                        field=field,
                        remedy=f"Choose {start} to {self.n_layers}.",
                    )

    def _resumed(self, hidden: Tensor) -> Tensor:
        if hidden.ndim != 3 or hidden.shape[2] != self.d_model:
            raise UserError(
                f"shape {tuple(hidden.shape)} is not (rows, tokens, {self.d_model})",
                field="resume",
                remedy="Give the residual stream as run() captured it, uncropped.",
            )
        return hidden.to(self.projection.weight.dtype)

    def _input(self, batch: Batch, features: Tensor | None) -> Tensor:
        """Residual stream (B, T, d) before the first block."""
        if features is None:
            if batch.sequence is None:
                raise UserError(
                    "there is neither sequence nor its features",
                    field="sequence",
                    remedy="Give one of them.",
                )
            features = self.sequence_features(batch.sequence)
        windows, count, _ = features.shape
        rows = batch.atac.shape[0]
        expected = (rows, count * self.config.token_width // ATAC_BIN, 1)
        if tuple(batch.atac.shape) != expected or rows % windows:
            raise UserError(
                f"shape {tuple(batch.atac.shape)} does not fit {windows} windows of {count} tokens",
                field="atac",
                remedy=f"Give (rows, {expected[1]}, 1) with the same number of rows for each "
                f"window.",
            )
        if tuple(batch.motif.shape) != (rows, 1, self.config.num_motifs):
            raise UserError(
                f"shape {tuple(batch.motif.shape)} does not fit {rows} rows of "
                f"{self.config.num_motifs} motifs",
                field="motif",
                remedy=f"Give ({rows}, 1, {self.config.num_motifs}).",
            )
        dtype = self.projection.weight.dtype
        shared = (
            features.to(dtype).repeat_interleave(rows // windows, dim=0)
            if rows > windows
            else features.to(dtype)
        )
        motif = self.motif(batch.motif.to(dtype)).expand(-1, count, -1)
        return self.projection(torch.cat([shared, self.atac(batch.atac.to(dtype)), motif], dim=2))

    def _edited(self, edit: Edit, layer: int, hidden: Tensor) -> Tensor:
        edited = edit(hidden)
        if edited.shape != hidden.shape:
            raise UserError(
                f"turned shape {tuple(hidden.shape)} into {tuple(edited.shape)}",
                field=f"edit at layer {layer}",
                remedy="An edit keeps the shape of the residual stream.",
            )
        return edited

    def _rotary(self, hidden: Tensor) -> Tensor:
        table = torch.from_numpy(rotary_table(hidden.shape[1], self.config.head_dim))
        return table.to(hidden.device, hidden.dtype)

    def load_original(self, weights: Mapping[str, np.ndarray]) -> EpiBERT:
        """Load the original's variables, all of them, by checkpoint key (with or without
        ``weight/`` and ``model/``).

        Leaves the model in eval mode and returns it; call ``train()`` to train on.
        """
        state = {
            name: torch.from_numpy(array)
            for name, array in our_arrays(weights, self.config).items()
        }
        self.load_state_dict(self.state_dict() | state)
        return self.eval()

    def start_at_mean(self, mean: float) -> None:
        """Set the head's bias so that the untrained model predicts about ``mean``: softplus⁻¹, in
        place."""
        with torch.no_grad():
            self.head.profile.bias.fill_(
                mean if mean > 20 else math.log(math.expm1(max(mean, 1e-3)))
            )

    def reinitialized(self, seed: int) -> EpiBERT:
        """The same architecture with weights drawn from ``seed``, in eval mode."""
        return EpiBERT(self.config, init_seed=seed).eval()

    def save_safetensors(self, path: str | Path) -> None:
        """Write weights and configuration to one safetensors file."""
        state = {name: value.contiguous().cpu() for name, value in self.state_dict().items()}
        with atomic_path(path) as temporary:
            temporary.write_bytes(
                stable_bytes(
                    state, {"format": FILE_FORMAT, "config": json.dumps(asdict(self.config))}
                )
            )

    @classmethod
    def from_safetensors(cls, path: str | Path) -> EpiBERT:
        """The model in ``path``, in eval mode."""
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                # not a mapping: without keys() it cannot be gone through
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            raise UserError(
                "does not exist", file=path, remedy="Make it with petriscope convert."
            ) from None
        except (SafetensorError, OSError) as error:
            raise UserError(
                f"cannot be read as safetensors ({error})", file=path, remedy="Make it anew."
            ) from error
        if metadata.get("format") != FILE_FORMAT:
            raise UserError(
                "is not an EpiBERT written by petriscope",
                file=path,
                remedy="Make it with petriscope convert.",
            )
        config = json.loads(metadata["config"])
        with torch.device("meta"):
            model = cls(EpiBERTConfig(**config), init_seed=None)
        try:
            model.load_state_dict(state, assign=True)
        except RuntimeError as error:
            raise UserError(
                f"does not fit its own configuration ({error})", file=path, remedy="Make it anew."
            ) from error
        return model.eval()
