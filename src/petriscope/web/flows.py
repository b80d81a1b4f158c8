"""Links between the features of two layers for the page: between which modules they run, beside
what the number of links of each module alone gives, and the strongest.

Where a study stored no links, each feature's nearest decoder in the other layer is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

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
    """Name and value of each chunk ``graph/flow-LAYER-OTHER``, for ``pairs`` of layers."""
    graph = graphs[0] if graphs else None
    for layer, other in pairs:
        links = _links(atlas, layer, other) or _nearest(atlas, layer, other)
        alpha = atlas.thresholds.alpha
        tested = any(link["p"] is not None for link in links)
        counted = [k for k in links if not tested or (k["p"] is not None and k["p"] < alpha)]
        one, two = (graph.module_of(at) if graph else {} for at in (layer, other))
        ends = [(one.get(k["id"], NONE), two.get(k["other"], NONE)) for k in counted]
        yield (
            f"graph/flow-{layer}-{other}",
            {
                "layer": layer,
                "other_layer": other,
                "graph": graph.name if graph else None,
                "total": len(links),
                "significant": len(counted) if tested else None,
                "modules": expected(ends) if graph else [],
                "links": links[:LINKS],
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


def _links(atlas: Atlas, layer: int, other: int) -> list[dict[str, Any]]:
    return [link._asdict() for link in atlas.links_between(layer, other, -1)]


def _nearest(atlas: Atlas, layer: int, other: int) -> list[dict[str, Any]]:
    """Each feature's nearest decoder in the other layer, the most alike first."""
    sql = (
        "SELECT s.id, s.other, s.kind, s.value, NULL AS tokens, NULL AS p, a.label, "
        "b.label AS other_label FROM similar s JOIN features a ON a.id = s.id JOIN features b ON "
        "b.id = s.other WHERE s.kind = ? AND s.id >= ? AND s.id < ? AND s.other >= ? AND "
        "s.other < ? ORDER BY s.value DESC, s.id, s.other"
    )
    ends = [at * LAYER_STRIDE for at in (layer, layer + 1, other, other + 1)]
    names = ("id", "other", "kind", "value", "tokens", "p", "label", "other_label")
    found: dict[int, dict[str, Any]] = {}
    for row in atlas.select(sql, (DECODER, *ends)):
        found.setdefault(row[0], dict(zip(names, row)))
    return list(found.values())
