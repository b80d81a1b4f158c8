"""Features are alike whose decoders point the same way, in one layer and the next, or which fire
together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import scipy.sparse as sp

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
