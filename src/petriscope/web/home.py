"""data/home.js holds all that the overview needs and that every page must know of the others."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import numpy as np

from petriscope.atlas import schema
from petriscope.atlas.schema import LAYER_STRIDE, WORDS
from petriscope.enrich.kinds import KINDS
from petriscope.web.columns import shown, stored
from petriscope.web.parts import Parts, sentences
from petriscope.web.source import Source

FORMAT = 2
"""Of the folder: a page that meets a newer one says so (in step with format.ts)."""


def home(source: Source, digest: str, pack: int, parts: Parts) -> dict[str, Any]:
    """The manifest of the data. ``digest``: sha256 of the SQLite file; ``pack``: features of a
    file."""
    atlas = source.atlas
    thresholds, made = atlas.thresholds, atlas.layout_made
    return {
        "format": FORMAT,
        "program": version("petriscope"),
        "atlas": {"format": schema.VERSION, "sha256": digest},
        "run": atlas.run(),
        "words": {name: getattr(atlas.declared, name) for name in WORDS},
        "thresholds": {**thresholds._asdict(), "causal": thresholds.causal},
        "total": len(source.ids),
        "contrasted": atlas.contrasted,
        "pack": pack,
        "counts": source.counts,
        "columns": columns(source),
        "strata": atlas.lineages,
        "units": [{"unit": unit.name, "values": unit.values} for unit in atlas.units],
        "unit_columns": [_declared(column) for column in atlas.declared.units],
        "context_columns": [_declared(column) for column in atlas.declared.contexts],
        "layers": layers(source),
        "claims": [claim._asdict() for claim in atlas.claims()],
        "flow": [flow._asdict() for flow in atlas.flow()],
        "kinds": kinds(),
        "states": atlas.state_colors(),
        "linked": parts.linked,
        "modules": parts.modules,
        "places": parts.places,
        "layout": None if made is None else made._asdict(),
        "studies": [],
        "has": parts.has,
        "documents": parts.documents,
        "tables": sorted(atlas.tables),
        "empty": sentences(source, parts),
    }


def columns(source: Source) -> list[dict[str, Any]]:
    """What every column of the features is and how it is stored."""
    first = shown(source.atlas)
    return [
        {
            **_words_of(column),
            "store": stored(source.atlas, column).store,
            "shown": name in first,
            "filled": name in source.atlas.filled,
        }
        for name, column in source.atlas.columns.items()
    ]


def _words_of(column: schema.Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "kind": column.kind,
        "head": column.head or column.name,
        "form": column.form,
        "text": column.text,
    }


def _declared(column: schema.Column) -> dict[str, Any]:
    """A column that is not stored by itself."""
    store = {"text": "code", "real": "f64", "integer": "i32"}[column.kind]
    return {**_words_of(column), "store": store, "shown": True, "filled": True}


def layers(source: Source) -> list[dict[str, Any]]:
    """The layers with their place in the columns, quality, densities and annotated features."""
    atlas = source.atlas
    found, row = [], 0
    for one in atlas.layers():
        first, size = source.layers.get(one.layer, (row, 0))
        row = first + size
        last = int(source.ids[row - 1]) if size else 0
        values = one._asdict()
        found.append(
            {
                "layer": values.pop("layer"),
                "name": atlas.layer_names[one.layer],
                "model": values.pop("model"),
                "depth": values.pop("depth"),
                "first": first,
                "size": size,
                "contiguous": not size or last % LAYER_STRIDE == size - 1,
                "values": values,
                "densities": atlas.density_histogram(one.layer),
                "annotated": _annotated(source, row - size, row),
            }
        )
    return found


def _annotated(source: Source, first: int, last: int) -> dict[str, int]:
    """How many features of some rows are enriched for a term of each kind; kinds without any are
    absent."""
    own = source.kinds[first:last]
    found = {kind.name: int(np.count_nonzero(own & (1 << k))) for k, kind in enumerate(KINDS)}
    return {name: count for name, count in found.items() if count}


def kinds() -> list[dict[str, Any]]:
    """The kinds of annotation, those that the atlas lacks too: they are words of the filters."""
    names = ("name", "one", "many", "filters", "estimate", "scope", "stage")
    found = [{name: getattr(kind, name) for name in names} for kind in KINDS]
    return [{**kind, "estimate": kind["estimate"].replace("_", " ")} for kind in found]
