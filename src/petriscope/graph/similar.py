"""Features are alike whose decoders point the same way, in one layer and the next, or which fire
together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy.sparse as sp
from scipy.special import betainc
from statsmodels.stats.proportion import proportion_confint

from petriscope.graph.coactivation import nearest_decoders, strongest_pairs


def similar_rows(
    decoders: Mapping[int, np.ndarray],
    alive: Mapping[int, np.ndarray],
    correlations: Mapping[int, sp.csr_matrix],
    count: int,
) -> pd.DataFrame:
    """The ``count`` nearest of each alive feature, by kind of likeness.

    ``decoders``: layer → (alive, d) rows of alive features; ``alive``: layer → their numbers;
    ``correlations``: layer → (m, m) firing correlation. Columns layer, feature, other_layer,
    other_feature, kind (decoder or coactivation), value.
    """
    frames = []
    for layer in decoders:
        for other in (layer, layer + 1):
            if other in decoders and len(alive[layer]) and len(alive[other]):
                best, cosine = nearest_decoders(
                    decoders[layer], decoders[other], same=other == layer, count=count
                )
                frames.append(
                    {
                        "layer": layer,
                        "feature": np.repeat(alive[layer], best.shape[1]),
                        "other_layer": other,
                        "other_feature": alive[other][best].ravel(),
                        "kind": "decoder",
                        "value": cosine.ravel(),
                    }
                )
        pairs = strongest_pairs(correlations[layer], count)
        pairs = pairs[pairs.feature.isin(alive[layer]) & pairs.other.isin(alive[layer])]
        frames.append(
            {
                "layer": layer,
                "feature": pairs.feature.to_numpy(),
                "other_layer": layer,
                "other_feature": pairs.other.to_numpy(),
                "kind": "coactivation",
                "value": pairs.value.to_numpy(),
            }
        )
    return pd.concat([pd.DataFrame(frame) for frame in frames], ignore_index=True)


def match_rows(decoders: Mapping[int, np.ndarray], least: float) -> pd.DataFrame | None:
    """Of each layer the share of features whose nearest decoder in the next layer has a cosine of
    ``least`` or more, with its Wilson interval, beside what directions turned at random give.

    ``decoders``: layer → (alive, d), as in `similar_rows`. Rows of the atlas's table of numbers;
    None where no two layers follow each other.
    """
    rows = []
    for layer, own in decoders.items():
        other = decoders.get(layer + 1)
        if other is None or not len(own) or not len(other):
            continue
        _, cosine = nearest_decoders(own, other, same=False, count=1)
        # as the stored double, which the atlas compares with the threshold
        found = int((cosine[:, 0].astype(np.float64) >= least).sum())
        low, high = proportion_confint(found, len(own), method="wilson")
        rows.append(
            {
                "name": "decoder match",
                "layer": layer,
                "other_layer": layer + 1,
                "value": found / len(own),
                "lo": low,
                "hi": high,
                "null": chance_of_match(own.shape[1], len(other), least),
                "n": len(own),
                "unit": "features",
                "note": f"cosine {least:g} or more; null: at most, of directions turned at random; "
                "the interval takes features for independent",
            }
        )
    return pd.DataFrame(rows) if rows else None


def chance_of_match(width: int, candidates: int, least: float) -> float:
    """The most likely a direction is to find one of ``candidates`` with a cosine of ``least``
    (0 to 1) or more if those are turned at random, whatever their angles to each other.

    Of a random direction in ``width`` dimensions the squared cosine with a fixed one is
    Beta(1/2, (width - 1)/2); any of several: at most the sum of their probabilities (Boole).
    """
    beyond = betainc((width - 1) / 2, 0.5, 1 - least**2) / 2
    return float(min(1.0, candidates * beyond))
