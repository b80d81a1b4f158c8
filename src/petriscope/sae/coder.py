"""The sparse autoencoder itself: parameters, encode, decode, and its folder (cfg.json +
safetensors)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from petriscope.errors import UserError
from petriscope.files import Output, atomic_folder, json_with, read_json, write_json
from petriscope.probe.harvest import Hidden, layer_paths
from petriscope.probe.shards import Store
from petriscope.progress import bar
from petriscope.sae.codes import Codes, concatenate
from petriscope.sae.config import SAEConfig
from petriscope.sae.select import CandidateFilter, Selection, TopK, above_threshold
from petriscope.sae.sparse import Pattern, to_host, weighted_rows
from petriscope.shown import INK, Printed, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = 1
DICTIONARY = Output(
    "a dictionary",
    ("cfg.json", "sae.safetensors", "metrics.json"),
    json_with(format=FORMAT, scale=None, threshold=None),
)
_ROWS_AT_ONCE = 4096
_STREAM_ROWS = 16_384


@dataclasses.dataclass(frozen=True, repr=False)
class SAE(Printed):
    """z = σ(W_enc(s·h − b_dec) + b_enc), ĥ = (zᵀW_dec + b_dec) / s, with σ keeping what exceeds
    ``threshold``.

    For ``topk`` σ keeps the k largest positive latents of each token and ``threshold`` is unused.
    Codes are in scaled units (E‖s·h‖² = d); hidden states going in and coming out are raw.

    Raises
    ------
    UserError
        From `load`, where the folder is missing, corrupt or inconsistent; from `encode`, on a wrong
        width, NaN or infinity.

    Notes
    -----
    Source: BatchTopK, arXiv 2412.06410; ``config`` says which variant it is.

    Examples
    --------
    >>> sae.decode(codes).shape == hidden.values.shape
    True
    >>> sae.directions.shape == (sae.m, sae.d)
    True
    """

    config: SAEConfig
    W_enc: torch.Tensor
    """float32 (m, d)"""
    b_enc: torch.Tensor
    """float32 (m)"""
    W_dec: torch.Tensor
    """float32 (m, d), unit rows where ``config.unit_decoder``"""
    b_dec: torch.Tensor
    """float32 (d), scaled units"""
    scale: float
    """s: raw hidden state to scaled units"""
    threshold: float
    """inference threshold θ ≥ 0"""

    @property
    def d(self) -> int:
        """Width of a hidden state."""
        return self.W_enc.shape[1]

    @property
    def m(self) -> int:
        """Latents."""
        return self.W_enc.shape[0]

    @property
    def directions(self) -> torch.Tensor:
        """What one unit of each latent adds to a raw hidden state: float32 (m, d)."""
        return self.W_dec / self.scale

    @property
    def unit_rows(self) -> torch.Tensor:
        """Direction of each latent, of unit length: float32 (m, d)."""
        if self.config.unit_decoder:
            return self.W_dec
        return torch.nn.functional.normalize(self.W_dec, dim=1)

    @property
    def heading(self) -> str:
        """Variant and shape, in one line."""
        return f"{self.config.variant} autoencoder: {self.m} latents of width {self.d}"

    def table(self) -> pd.DataFrame:
        """One row: variant, d, latents, k, scale, threshold, seed, training tokens, and how far
        the nearest other decoder row is on average (cosine)."""
        config = self.config
        row = {"variant": config.variant, "d": self.d, "latents": self.m, "k": config.k}
        row |= {"scale": self.scale, "threshold": self.threshold, "seed": config.seed}
        row |= {"tokens": config.steps * config.batch, "nearest": float(self.nearest().mean())}
        return pd.DataFrame([row])

    def nearest(self) -> np.ndarray:
        """(m,) largest cosine of each latent's direction with that of another latent."""
        found, rows = [], self.unit_rows
        for start in range(0, self.m, _ROWS_AT_ONCE):
            cosine = rows[start : start + _ROWS_AT_ONCE] @ rows.T
            own = torch.arange(len(cosine))
            cosine[own, own + start] = -1
            found.append(cosine.amax(dim=1))
        return to_host(torch.cat(found))

    def plot(self) -> Figure:
        """How alike the latents' directions are: each one's largest cosine with another."""
        figure, axes = panel()
        axes.hist(self.nearest(), bins=40, color=INK)
        axes.set(xlabel="cosine with the nearest other latent", ylabel="latents")
        return figure

    def to(self, device: str | torch.device) -> SAE:
        """The same dictionary on another device, where it then encodes and decodes."""
        names = ("W_enc", "b_enc", "W_dec", "b_dec")
        return dataclasses.replace(self, **{n: getattr(self, n).to(device) for n in names})

    @functools.cached_property
    def _filter(self) -> CandidateFilter:
        return CandidateFilter(self.W_enc, self.b_enc, self.config.filter)

    def centered(self, x: np.ndarray | torch.Tensor) -> torch.Tensor:
        """s·x − b_dec, float32 (n, d). Raises `UserError` on a wrong width, NaN or infinity."""
        rows = as_rows(x, self.d).to(self.b_dec.device)
        return torch.add(-self.b_dec, rows, alpha=self.scale)

    @torch.inference_mode()  # always, or never: the filter keeps its buffers from call to call
    def select(self, x: np.ndarray | torch.Tensor) -> Selection:
        """Active latents of raw hidden states x (n, d) in both orders."""
        centered = self.centered(x)
        if self.config.variant == "topk":
            return TopK(self.config.k)(self._filter, centered)
        return above_threshold(self._filter, centered, self.threshold)

    def encode(
        self, x: np.ndarray | torch.Tensor | Hidden, *, device: str | torch.device | None = None
    ) -> Codes:
        """Sparse codes of raw hidden states: exact values, bounded working memory.

        Parameters
        ----------
        x : Hidden, ndarray or tensor of shape (n, d)
            Raw hidden states; those of `Hidden` give codes that carry its token axis and layer.
        device : str or torch.device, optional
            Where the products are formed; where the dictionary lies if not given.

        Returns
        -------
        Codes
            n rows, on the host.

        Raises
        ------
        UserError
            On a wrong width, NaN or infinity.

        Examples
        --------
        >>> sae.encode(hidden).tokens is hidden.tokens
        True
        """
        coder = self if device is None else self.to(device)
        if isinstance(x, Hidden):
            codes = encode_rows(coder, x.values)
            return dataclasses.replace(codes, tokens=x.tokens, layer=x.layer)
        rows = x.reshape(-1, x.shape[-1])
        pieces = [
            coder._encode_piece(rows[at : at + _ROWS_AT_ONCE])
            for at in range(0, len(rows), _ROWS_AT_ONCE)
        ]
        if not pieces:
            return Codes(
                np.zeros(1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), self.m
            )
        return concatenate(pieces)

    def _encode_piece(self, x: np.ndarray | torch.Tensor) -> Codes:
        chosen = self.select(x)
        values = to_host(chosen.values[chosen.order])
        indptr, columns = to_host(chosen.by_token.indptr), to_host(chosen.by_token.columns)
        return Codes(indptr.astype(np.int64), columns, values, self.m)

    def decode(self, codes: Codes) -> np.ndarray:
        """Raw hidden states ĥ float32 (n, d) of sparse codes."""
        indptr, indices, values = (
            torch.from_numpy(np.require(array, dtype, ("C", "W"))).to(
                self.W_dec.device
            )  # a mapped file is read-only, torch needs more
            for array, dtype in (
                (codes.indptr, np.int32),
                (codes.indices, np.int32),
                (codes.values, np.float32),
            )
        )
        pattern = Pattern(indptr, indices, self.m)
        rows = weighted_rows(pattern, values, self.W_dec).add_(self.b_dec).div_(self.scale)
        return to_host(rows)

    def encode_dense(self, x: torch.Tensor) -> torch.Tensor:
        """Codes as a dense tensor (…, m) of raw hidden states (…, d), differentiable: for edits and
        small inputs."""
        pre = (x * self.scale - self.b_dec) @ self.W_enc.T + self.b_enc
        if self.config.variant == "topk":
            border = pre.topk(self.config.k, dim=-1).values[..., -1:]
            return torch.where(pre >= border, pre.relu(), 0.0)
        return torch.where(pre > max(self.threshold, 0.0), pre, 0.0)

    def decode_dense(self, z: torch.Tensor) -> torch.Tensor:
        """Raw hidden states (…, d) of dense codes (…, m), differentiable."""
        return (z @ self.W_dec + self.b_dec) / self.scale

    def save(self, folder: str | Path) -> None:
        """Write cfg.json and sae.safetensors (whole or not at all)."""
        tensors = {
            name: getattr(self, name).contiguous() for name in ("W_enc", "b_enc", "W_dec", "b_dec")
        }
        described = {
            "format": FORMAT,
            "scale": self.scale,
            "threshold": self.threshold,
            **self.config.as_dict(),
        }
        with atomic_folder(folder, DICTIONARY) as temporary:
            write_json(temporary / "cfg.json", described)
            save_file(tensors, temporary / "sae.safetensors")

    @classmethod
    def load(cls, folder: str | Path) -> SAE:
        """Read what ``save`` wrote. Raises `UserError` where the folder is missing, corrupt or
        inconsistent."""
        folder = Path(folder)
        remedy = "Train it again, or restore the file."
        try:
            described = read_json(folder / "cfg.json")
            tensors = load_file(folder / "sae.safetensors")
        except FileNotFoundError as error:
            raise UserError(
                "does not exist", file=error.filename or folder, remedy=remedy
            ) from None
        except (SafetensorError, ValueError) as error:
            raise UserError(f"cannot be read ({error})", file=folder, remedy=remedy) from None
        if described.pop("format", None) != FORMAT:
            raise UserError(
                "is not an SAE folder of this program",
                file=folder / "cfg.json",
                field="format",
                remedy=remedy,
            )
        scale, threshold = described.pop("scale"), described.pop("threshold")
        config = SAEConfig.from_dict(described)
        shapes = {
            "W_enc": (config.m, config.d), "b_enc": (config.m,),
            "W_dec": (config.m, config.d), "b_dec": (config.d,),
        }  # fmt: skip
        for name, shape in shapes.items():
            if name not in tensors or tuple(tensors[name].shape) != shape:
                found = tuple(tensors[name].shape) if name in tensors else "absent"
                raise UserError(
                    f"is {found}, cfg.json says {shape}",
                    file=folder / "sae.safetensors",
                    field=name,
                    remedy=remedy,
                )
        return cls(
            config=config,
            **{name: tensors[name] for name in shapes},
            scale=scale,
            threshold=threshold,
        )


def saved_sae(folder: Path, layer: int, seed: int) -> SAE:
    """The dictionary of one layer and seed in a run's folder of dictionaries."""
    return SAE.load(dictionary_folder(folder, layer, seed))


def dictionary_folder(folder: Path, layer: int, seed: int) -> Path:
    """Where a run's folder of dictionaries keeps that of one layer and seed."""
    return folder / f"layer_{layer}" / f"seed_{seed}"


def saved_layers(folder: Path, seed: int) -> dict[int, SAE]:
    """The dictionary of every layer in a run's folder of dictionaries: layer → that of ``seed``."""
    return {layer: saved_sae(folder, layer, seed) for layer in layer_paths(folder)}


def as_rows(x: np.ndarray | torch.Tensor, d: int) -> torch.Tensor:
    """Float32 rows (n, d) of an array (…, d). Raises `UserError` on a wrong width, NaN or
    infinity."""
    if x.shape[-1] != d:
        what = f"vectors are {x.shape[-1]} wide, the SAE expects {d}"
        raise UserError(
            what, field="hidden states", remedy="Use the SAE trained on this layer and model."
        )
    if isinstance(x, np.ndarray):
        rows = torch.from_numpy(np.require(x, np.float32, ("C", "W")).reshape(-1, d))
    else:
        rows = x.detach().reshape(-1, d).float()
    finite = torch.isfinite(rows.sum(dim=1))
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0, 0])
        if not bool(torch.isfinite(rows[row]).all()):
            raise UserError(
                f"row {row} holds NaN or infinity",
                field="hidden states",
                remedy="Harvest this shard again.",
            )
    return rows


def encode_stream(
    sae: SAE, rows: Store, *, rows_at_once: int = _STREAM_ROWS, progress: bool = False
) -> Iterator[tuple[int, Codes]]:
    """Codes of raw hidden states rows (…, d) (may be memory-mapped), as (first row, codes) pieces
    in order.

    Holds ``rows_at_once`` rows at a time; rows are numbered through all leading axes. Raises
    `UserError` with the row number on NaN or infinity.
    """
    flat = rows.reshape(-1, rows.shape[-1])
    meter = bar("Encoding", total=len(flat), unit="token") if progress else None
    for start in range(0, len(flat), rows_at_once):
        piece = flat[start : start + rows_at_once]
        try:
            codes = sae.encode(piece)
        except UserError:
            bad = np.flatnonzero(~np.isfinite(np.asarray(piece, np.float32)).all(axis=1))
            if not len(bad):
                raise
            what = f"row {start + bad[0]} holds NaN or infinity"
            raise UserError(
                what, field="hidden states", remedy="Harvest this layer again."
            ) from None
        yield start, codes
        if meter is not None:
            meter.update(len(piece))
    if meter is not None:
        meter.close()


def encode_rows(sae: SAE, rows: Store, *, progress: bool = False) -> Codes:
    """Codes of all rows (…, d) at once in memory (codes only: about 8·L0 bytes a row)."""
    pieces = [codes for _, codes in encode_stream(sae, rows, progress=progress)]
    return concatenate(pieces) if pieces else sae.encode(np.zeros((0, sae.d), np.float32))
