"""Rows of dna.py: track correlation against the authors' loop (np.corrcoef and np.correlate a
latent) on one chunk of 1,000 tokens × 10,240 latents, the 999 circular shifts of its null, and the
concept benchmark against scikit-learn's curves a unit at a time.

Medians of interleaved rounds; each row checks that both give the same numbers.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from rows import Against, Within

from petriscope.enrich.concepts import score
from petriscope.enrich.correlation import circular_shifts, correlate
from petriscope.studies.dna.tracks import chunk_scores

TOKENS, LATENTS, SHIFTS = 1000, 10_240, 999


def interleaved(tasks: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each task."""
    spent: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(rounds):
        for name, task in tasks.items():
            begin = time.process_time()
            task()
            spent[name].append(time.process_time() - begin)
    return {name: statistics.median(values) for name, values in spent.items()}


def _chunk() -> tuple[np.ndarray, np.ndarray]:
    """Codes as dense as those of the published autoencoder (half of the latents fire), and an
    annotation in runs."""
    rng = np.random.default_rng(0)
    fires = rng.uniform(size=(TOKENS, LATENTS)) < 0.5
    features = np.where(fires, rng.exponential(size=(TOKENS, LATENTS)), 0).astype(np.float32)
    return features, (np.arange(TOKENS) % 50 < 12).astype(float)


def authors(features: np.ndarray, annotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Their statements, a latent at a time (regelementcorr.py, crosscorr.py)."""
    pearson, cosine = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for latent in features.T:
            pearson.append(np.nan_to_num(np.corrcoef(latent, annotation))[0, 1])
            below = np.sqrt(np.sum(latent**2) * np.sum(annotation**2))
            cosine.append(np.nan_to_num(np.correlate(latent, annotation) / below)[0])
    return np.array(pearson), np.array(cosine)


def track_chunk(rounds: int = 3) -> list[Against]:
    """One chunk, published scores; goal: 100 times the authors' loop."""
    features, annotation = _chunk()
    ours, theirs = chunk_scores(features, annotation), authors(features, annotation)
    error = max(float(np.abs(a - b).max()) for a, b in zip(ours, theirs, strict=True))
    assert error < 2e-5, error
    spent = interleaved(
        {
            "petriscope": lambda: chunk_scores(features, annotation),
            "authors' loop": lambda: authors(features, annotation),
        },
        rounds,
    )
    what = "track correlation, one chunk, the authors' loop"
    return [Against(what, spent["petriscope"], spent["authors' loop"], 100)]


def track_shifts(rounds: int = 3) -> list[Within]:
    """All 999 shifts of one chunk with maxT; goal: .7 CPU s."""
    features, annotation = _chunk()
    ring = np.zeros(TOKENS, int)
    shifts = circular_shifts(ring, SHIFTS, 167, seed=0)
    found = correlate(features, annotation[:, None], ring, shifts)
    moved = np.roll(annotation, -int(shifts[5, 0]))
    wanted = np.abs(np.corrcoef(features[:, :200].T, moved)[-1, :-1]).max()
    assert found.null_max[5, 0, 0] >= wanted - 1e-5
    spent = interleaved(
        {"petriscope": lambda: correlate(features, annotation[:, None], ring, shifts)}, rounds
    )
    return [Within("track correlation, 999 shifts with maxT", spent["petriscope"], 0.7)]


def concept_scores(rounds: int = 3) -> list[Against]:
    """F1 at the best threshold and AUROC of 512 latents on 40 concepts, 30,000 tokens."""
    from sklearn.metrics import precision_recall_curve, roc_auc_score

    rng = np.random.default_rng(0)
    n, m, k, some = 30_000, 512, 6, 4
    latent = np.concatenate([rng.choice(m, k, replace=False) for _ in range(n)])
    codes = sp.csr_matrix(
        (rng.exponential(size=n * k), latent, np.arange(0, n * k + 1, k)), shape=(n, m)
    )
    concepts = rng.uniform(size=(n, 40)) < rng.uniform(0.005, 0.2, 40)
    dense = codes[:, :some].toarray()

    def sklearn() -> tuple[np.ndarray, np.ndarray]:
        f1, auroc = np.zeros((some, 40)), np.zeros((some, 40))
        for f in range(some):
            for c in range(40):
                p, r, t = precision_recall_curve(concepts[:, c], dense[:, f])
                p, r = p[:-1][t > 0], r[:-1][t > 0]
                f1[f, c] = (2 * p * r / np.maximum(p + r, 1e-12)).max()
                auroc[f, c] = roc_auc_score(concepts[:, c], dense[:, f])
        return f1, auroc

    ours, theirs = score(codes, concepts), sklearn()
    error = max(
        float(np.abs(a[:some] - b).max())
        for a, b in ((ours.f1, theirs[0]), (ours.auroc, theirs[1]))
    )
    assert error < 1e-9, error
    spent = interleaved(
        {"petriscope": lambda: score(codes, concepts), "scikit-learn": sklearn}, rounds
    )
    spent["scikit-learn"] *= m / some
    what = f"concept scores, 512 latents x 40 concepts, scikit-learn (of {some} latents)"
    return [Against(what, spent["petriscope"], spent["scikit-learn"], 0)]


ROWS = {
    "track_chunk": track_chunk,
    "track_shifts": track_shifts,
    "concept_scores": concept_scores,
}
