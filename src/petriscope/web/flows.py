"""Links between the features of two layers for the page: between which modules they run, beside
what the number of links of each module alone gives, and the strongest.

Where a study stored no links, each feature's nearest decoder in the other layer is one.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from petriscope.atlas.query import Atlas
from petriscope.atlas.schema import LAYER_STRIDE
from petriscope.web.digits import DIGITS
from petriscope.web.modules import Graph

LINKS = 200
"""the strongest of a pair, in its chunk"""
NONE = -1
"""The module of a feature that has none."""
DECODER = "decoder"


def pairs_of(atlas: Atlas) -> list[tuple[int, int]]:
    """Pairs of layers with links."""
    return sorted({*atlas.linked_layers(), *_matched(atlas)})


def _matched(atlas: Atlas) -> list[tuple[int, int]]:
    """Pairs of layers of which nearest decoders are known."""
    sql = (
        f"SELECT DISTINCT id / {LAYER_STRIDE}, other / {LAYER_STRIDE} FROM similar WHERE "
        f"kind = ? AND id / {LAYER_STRIDE} <> other / {LAYER_STRIDE} ORDER BY 1, 2"
    )
    return atlas.select(sql, (DECODER,))


def flow_chunks(
    atlas: Atlas, graphs: list[Graph], pairs: Iterable[tuple[int, int]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and value of each chunk ``graph/flow-LAYER-OTHER``, for ``pairs`` of layers in order:
    what a layer is linked to is read once."""
    graph = graphs[0] if graphs else None
    module_of = functools.cache(graph.module_of if graph else lambda layer: {})
    alpha = atlas.thresholds.alpha
    for layer, group in groupby(pairs, lambda pair: pair[0]):
        stored, nearest = _links(atlas, layer), _nearest(atlas, layer)
        one = module_of(layer)
        for _, other in group:
            links = stored.get(other) or nearest.get(other) or []
            tested = any(link.p is not None for link in links)
            counted = [k for k in links if not tested or (k.p is not None and k.p < alpha)]
            two = module_of(other)
            ends = [(one.get(k.id, NONE), two.get(k.other, NONE)) for k in counted]
            yield (
                f"graph/flow-{layer}-{other}",
                {
                    "layer": layer,
                    "other_layer": other,
                    "graph": graph.name if graph else None,
                    "total": len(links),
                    "significant": len(counted) if tested else None,
                    "modules": expected(ends) if graph else [],
                    "links": _labelled(atlas, links[:LINKS]),
                },
            )


def expected(ends: list[tuple[int, int]]) -> list[list[Any]]:
    """Module at either end, links between them, and how many there would be if ends were dealt out
    at random: those of the one times those of the other over all."""
    count = Counter(ends)
    first, second = Counter(a for a, _ in ends), Counter(b for _, b in ends)
    return [
        [a, b, n, float(f"{first[a] * second[b] / len(ends):.{DIGITS}g}")]
        for (a, b), n in sorted(count.items(), key=lambda item: (-item[1], item[0]))
    ]


class Ends(NamedTuple):
    """A link without the labels of its features."""

    id: int
    other: int
    kind: str
    value: float
    tokens: int | None
    p: float | None


def _links(atlas: Atlas, layer: int) -> dict[int, list[Ends]]:
    """The links of a layer by the other layer, the strongest first."""
    if "links" not in atlas.tables:
        return {}
    sql = (
        "SELECT id, other, kind, value, tokens, p FROM links WHERE id >= ? AND id < ? "
        "ORDER BY kind, value DESC, id, other"
    )
    return _by_layer(map(Ends._make, atlas.select(sql, _within(layer))))


def _nearest(atlas: Atlas, layer: int) -> dict[int, list[Ends]]:
    """Each feature's nearest decoder in every other layer, the most alike first."""
    sql = (
        "SELECT id, other, kind, value, NULL, NULL FROM similar WHERE id >= ? AND id < ? "
        "AND kind = ? ORDER BY value DESC, id, other"
    )
    rows = atlas.select(sql, (*_within(layer), DECODER))
    first: dict[tuple[int, int], Ends] = {}
    for link in map(Ends._make, rows):
        first.setdefault((link.id, link.other // LAYER_STRIDE), link)
    return _by_layer(first.values())


def _within(layer: int) -> tuple[int, int]:
    return layer * LAYER_STRIDE, (layer + 1) * LAYER_STRIDE


def _by_layer(links: Iterable[Ends]) -> dict[int, list[Ends]]:
    found: dict[int, list[Ends]] = {}
    for link in links:
        found.setdefault(link.other // LAYER_STRIDE, []).append(link)
    return found


def _labelled(atlas: Atlas, links: list[Ends]) -> list[dict[str, Any]]:
    """Links as the page has them, with the labels of both features."""
    ids = json.dumps(sorted({end for link in links for end in (link.id, link.other)}))
    sql = "SELECT id, label FROM features WHERE id IN (SELECT value FROM json_each(?))"
    label = dict(atlas.select(sql, (ids,)))
    return [
        {**link._asdict(), "label": label[link.id], "other_label": label[link.other]}
        for link in links
    ]
