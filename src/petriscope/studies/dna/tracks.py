"""Tracks along DNA are compared with features as Hidden State Genomics published it: per chunk and
latent a Pearson correlation and a cosine called cross-correlation."""

from __future__ import annotations

import numpy as np


def chunk_scores(features: np.ndarray, annotation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pearson correlation (m,) and cosine (m,) of each column of ``features`` (n, m) with
    ``annotation`` (n,); 0 where either is constant (Pearson) or zero (cosine).

    The published "cross-correlation" is the lag-zero value of the product over both norms: a
    cosine. Source: HSG `featureanalysis/regelementcorr.py`, `crosscorr.py:188-195`.
    """
    x, y = np.asarray(features, np.float64), np.asarray(annotation, np.float64)
    norms = np.sqrt((x**2).sum(0)) * np.sqrt((y**2).sum())
    cosine = np.divide(y @ x, norms, out=np.zeros(x.shape[1]), where=norms > 0)
    x, y = x - x.mean(0), y - y.mean()
    varies = np.ptp(features, axis=0) > 0 if np.ptp(annotation) > 0 else np.zeros(x.shape[1], bool)
    norms = np.sqrt((x**2).sum(0)) * np.sqrt((y**2).sum())
    return np.divide(y @ x, norms, out=np.zeros(x.shape[1]), where=varies & (norms > 0)), cosine
