"""Rivals of the classifier head read the sequence alone, or its hidden states without the head:
length, base composition, 4-mers, the authors' one-hot network, means of neurons and of principal
components. A head says something about the model only where it beats them on the same groups.

Logistic regressions are fitted here by Newton's method; their penalty is that of scikit-learn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy import linalg
from torch import Tensor, nn

from petriscope.parallel import in_processes
from petriscope.studies.dna.areas import (
    Estimate,
    area_draws,
    area_under_roc,
    interval,
)
from petriscope.studies.dna.head import Ragged, check_two_classes, log_loss

LETTERS = "ACGT"
ALONE = ("length", "gc", "composition", "kmer", "onehot")
"""rivals that read nothing but the sequence"""
DECISIVE = ("length", "gc", "kmer", "onehot")
"""those a head must beat"""
_COMPONENTS = 32
_NEWTON = 100


def encoded(sequences: Sequence[str]) -> list[np.ndarray]:
    """uint8 0 A 1 C 2 G 3 T 4 anything else, one array a sequence."""
    table = np.full(256, 4, np.uint8)
    for code, letter in enumerate(LETTERS):
        table[ord(letter)] = code
    return [table[np.frombuffer(text.encode("ascii"), np.uint8)] for text in sequences]


def kmer_shares(codes: Sequence[np.ndarray], k: int) -> np.ndarray:
    """(S, 4^k) share of each k-mer (A, C, G, T order) among those of a sequence without another
    letter."""
    out = np.zeros((len(codes), 4**k))
    for i, code in enumerate(codes):
        number = np.zeros(max(0, len(code) - k + 1), np.int64)
        known = np.ones(len(number), bool)
        for j in range(k):
            part = code[j : j + len(number)]
            number = 4 * number + part
            known &= part < 4
        counts = np.bincount(number[known], minlength=4**k)
        out[i] = counts / max(1, counts.sum())
    return out


def gc_share(codes: Sequence[np.ndarray]) -> np.ndarray:
    """(S,) share of C and G among the known bases."""
    return np.array(
        [float(((c == 1) | (c == 2)).sum()) / max(1, int((c < 4).sum())) for c in codes]
    )


class Logistic(NamedTuple):
    """A fitted L2 logistic regression on standardized columns."""

    center: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    """(p,)"""
    intercept: float

    def margin(self, x: np.ndarray) -> np.ndarray:
        """Log odds of rows (n, p)."""
        return np.asarray(((x - self.center) / self.scale) @ self.weight + self.intercept)


def fit_logistic(
    x: np.ndarray, label: np.ndarray, strength: float = 1.0, *, standardize: bool = True
) -> Logistic:
    """Minimize Σ log(1 + exp(−y m)) + ‖w‖² / (2 strength) over m = w·x + b, the intercept free,
    columns standardized or only centered. Shares of 4-mers are small: as they are, the penalty
    all but removes them (AUC .78 in place of .80 on the cisplatin set).

    x (n, p), label (n,) bool. Damped Newton steps to a gradient of 1e-8 n; scikit-learn's
    `LogisticRegression(C=strength)` on standardized columns is the same minimum.
    """
    center, scale = x.mean(0), x.std(0) if standardize else np.ones(x.shape[1])
    scale = np.where(scale > 0, scale, 1.0)
    rows = np.concatenate([(x - center) / scale, np.ones((len(x), 1))], axis=1)
    ridge = np.append(np.full(x.shape[1], 1 / strength), 0.0)
    beta = np.zeros(rows.shape[1])
    beta[-1] = np.log((label.sum() + 0.5) / ((~label).sum() + 0.5))

    def cost(b: np.ndarray) -> float:
        return len(x) * log_loss(rows @ b, label) + 0.5 * float(ridge @ b**2)

    now = cost(beta)
    for _ in range(_NEWTON):
        chance = 1 / (1 + np.exp(-np.clip(rows @ beta, -500, 500)))
        slope = rows.T @ (chance - label) + ridge * beta
        if np.abs(slope).max() < 1e-8 * len(x):
            break
        curve = (rows.T * np.maximum(chance * (1 - chance), 1e-12)) @ rows
        curve[np.diag_indices_from(curve)] += ridge + 1e-10
        step, size = linalg.solve(curve, slope, assume_a="pos"), 1.0
        while size > 1e-6 and (later := cost(beta - size * step)) > now:
            size /= 2
        if size <= 1e-6:
            break
        beta, now = beta - size * step, later
    return Logistic(center, scale, beta[:-1], float(beta[-1]))


class OneHotNet(nn.Module):
    """The authors' one-hot network (`HSG:…/OHEclassifiers/CNN_classifier.py`): convolution 4 → 32
    (7), pool 2, convolution 32 → 64 (5), pool 2, then linear over all places where sequences are
    equally long. Where they are not, the strongest place of each channel is read instead, so that
    length and padding are no input."""

    def __init__(self, length: int | None) -> None:
        super().__init__()
        self.length = length
        self.conv1 = nn.Conv1d(4, 32, 7, padding=3)
        self.conv2 = nn.Conv1d(32, 64, 5, padding=2)
        self.fc = nn.Linear(64 * (length // 4 if length else 1), 1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(S,) log odds of one-hot ``x`` (S, 4, L)."""
        hidden = F.max_pool1d(F.relu(self.conv1(x)), 2)
        if self.length is None:
            hidden = hidden * _inside(lengths // 2, hidden)
        hidden = F.max_pool1d(F.relu(self.conv2(hidden)), 2)
        if self.length is None:
            hidden = (hidden * _inside(lengths // 4, hidden)).amax(2)
        found: Tensor = self.fc(hidden.flatten(1))
        return found[:, 0]


def _inside(lengths: Tensor, like: Tensor) -> Tensor:
    return (torch.arange(like.shape[2], device=like.device) < lengths[:, None])[:, None]


class Budget(NamedTuple):
    """How the one-hot network is trained (the authors: 10 epochs of batch 32, Adam 1e-3)."""

    epochs: int = 10
    batch: int = 32
    learning_rate: float = 1e-3
    patience: int = 3
    """epochs without a better one after which it stops"""


def one_hot_margin(
    codes: Sequence[np.ndarray],
    label: np.ndarray,
    train: np.ndarray,
    held: np.ndarray,
    budget: Budget,
    seed: int,
    device: str = "cpu",
) -> np.ndarray:
    """(S,) log odds of every sequence by a network trained on ``train``, taken from the epoch with
    the highest AUC on ``held``. Deterministic in ``seed``."""
    lengths = np.array([len(code) for code in codes])
    equal = int(lengths[0]) if len(np.unique(lengths)) == 1 else None
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = OneHotNet(equal).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=budget.learning_rate)
        best, kept, waited = (-np.inf, -np.inf), np.zeros(len(codes)), 0
        for _ in range(budget.epochs):
            network.train()
            for rows in np.array_split(rng.permutation(train), -(-len(train) // budget.batch)):
                x, sizes = _one_hot(codes, rows, device)
                target = torch.from_numpy(label[rows].astype(np.float32)).to(device)
                loss = F.binary_cross_entropy_with_logits(network(x, sizes), target)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            margin = _one_hot_margins(network, codes, held, device)
            score = (area_under_roc(margin, label[held]), -log_loss(margin, label[held]))
            waited += 1
            if score > best:
                best, waited = score, 0
                kept = _one_hot_margins(network, codes, np.arange(len(codes)), device)
            if waited >= budget.patience:
                break
    return kept


def _one_hot(codes: Sequence[np.ndarray], rows: np.ndarray, device: str) -> tuple[Tensor, Tensor]:
    lengths = np.array([len(codes[i]) for i in rows])
    padded = np.full((len(rows), int(lengths.max())), 4, np.uint8)
    for at, i in enumerate(rows):
        padded[at, : lengths[at]] = codes[i]
    x = np.stack([padded == code for code in range(4)], axis=1).astype(np.float32)
    return torch.from_numpy(x).to(device), torch.from_numpy(lengths).to(device)


@torch.inference_mode()
def _one_hot_margins(
    network: OneHotNet, codes: Sequence[np.ndarray], rows: np.ndarray, device: str
) -> np.ndarray:
    network.eval()
    parts = [
        network(*_one_hot(codes, rows[at : at + 256], device)).cpu().numpy()
        for at in range(0, len(rows), 256)
    ]
    return np.concatenate(parts).astype(np.float64)


def mean_streams(streams: Ragged) -> np.ndarray:
    """(S, d) mean hidden state of each sequence."""
    out = np.zeros((len(streams), streams.width))
    for at in range(0, len(streams), 512):
        hidden, lengths = streams.stacked(slice(at, at + 512))
        out[at : at + 512] = hidden.sum(1).numpy() / lengths.clamp(min=1)[:, None].numpy()
    return out


def principal(rows: np.ndarray, train: np.ndarray, count: int = _COMPONENTS) -> np.ndarray:
    """(n, count) principal components of ``rows`` (n, d), learned on ``train``."""
    center = rows[train].mean(0)
    _, vectors = np.linalg.eigh(np.cov(rows[train], rowvar=False))
    return np.asarray((rows - center) @ vectors[:, ::-1][:, :count])


def sequence_columns(sequences: Sequence[str], tokens: np.ndarray) -> dict[str, np.ndarray]:
    """What each rival by logistic regression reads: name → (S, p). ``tokens`` (S,) are counts."""
    codes = encoded(sequences)
    return {
        "length": np.asarray(tokens, np.float64)[:, None],
        "gc": gc_share(codes)[:, None],
        "composition": kmer_shares(codes, 1)[:, :3],
        "kmer": kmer_shares(codes, 4),
    }


def grouped_folds(group: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """(S,) fold of each sequence, whole groups together and folds of about equal size: groups in a
    seeded order, the largest first, each to the fold that is smallest so far."""
    names, index, size = np.unique(group, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    order = order[np.argsort(-size[order], kind="stable")]
    filled, fold = np.zeros(folds, np.int64), np.zeros(len(names), np.int64)
    for i in order:
        fold[i] = int(filled.argmin())
        filled[fold[i]] += size[i]
    return np.asarray(fold[index])


def cross_fitted(
    columns: Mapping[str, np.ndarray],
    codes: Sequence[np.ndarray] | None,
    label: np.ndarray,
    group: np.ndarray,
    fold: np.ndarray,
    budget: Budget,
    seed: int,
) -> dict[str, np.ndarray]:
    """Log odds (S,) of every sequence by rivals that never saw its fold. The one-hot network
    (``codes`` given) stops by the next fold, which it is then not trained on."""
    folds = int(fold.max()) + 1

    def one(held: int) -> dict[str, np.ndarray]:
        train, test = np.flatnonzero(fold != held), np.flatnonzero(fold == held)
        check_two_classes(label[train], f"the sequences outside fold {held}")
        found = {
            name: fit_logistic(x[train], label[train]).margin(x[test])
            for name, x in columns.items()
        }
        if codes is not None:
            watched = (held + 1) % folds
            rest, tuned = train[fold[train] != watched], np.flatnonzero(fold == watched)
            if not len(rest):  # two folds: the other one is halved by groups
                late = group[train] >= np.median(group[train])
                rest, tuned = train[~late], train[late]
            margin = one_hot_margin(codes, label, rest, tuned, budget, seed)
            found["onehot"] = margin[test]
        # against the prior of its own training rows, else folds differ in it alone
        prior = float(np.log(label[train].sum() / (~label[train]).sum()))
        # (rounded to what the fits settle, so that a rival that knows nothing ties everywhere)
        return {name: np.round(margin - prior, 6) for name, margin in found.items()}

    parts = list(in_processes(one, range(folds), "rivals in grouped folds", unit="fold"))
    out = {name: np.zeros(len(label)) for name in parts[0]}
    for held, part in enumerate(parts):
        for name, margin in part.items():
            out[name][fold == held] = margin
    return out


class Compared(NamedTuple):
    """Areas of several scores on the same held-out sequences, and the first one's lead."""

    areas: dict[str, Estimate]
    lead: dict[str, Estimate]
    """of each other score: area of the first minus its own, groups resampled together"""

    def table(self) -> pd.DataFrame:
        """Columns reads, auc, low, high, lead, lead_low, lead_high; a row per score."""
        nothing = Estimate(float("nan"), float("nan"), float("nan"))
        return pd.DataFrame(
            [
                {"reads": name, "auc": area.value, "low": area.low, "high": area.high}
                | dict(zip(("lead", "lead_low", "lead_high"), self.lead.get(name, nothing)))
                for name, area in self.areas.items()
            ]
        )


def compare_scores(
    scores: Mapping[str, np.ndarray],
    label: np.ndarray,
    group: np.ndarray,
    resamples: int,
    seed: int,
) -> Compared:
    """Areas of scores (n,) with intervals over groups; the first is compared with each other."""
    names = list(scores)
    draws = area_draws(np.stack([scores[n] for n in names]), label, group, resamples, seed)
    groups = len(np.unique(group))
    areas = {name: interval(row, groups) for name, row in zip(names, draws)}
    lead = {name: interval(draws[0] - row, groups) for name, row in zip(names[1:], draws[1:])}
    return Compared(areas, lead)
