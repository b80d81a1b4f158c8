"""The screen Pathways finds the features that are enriched for a term, layer by layer."""

from __future__ import annotations

from typing import NamedTuple

from rich.text import Text

from petriscope.atlas.query import Atlas
from petriscope.atlas.records import Listed
from petriscope.atlas.show import bound, show
from petriscope.enrich.kinds import BY_NAME, KINDS
from petriscope_tui.plots import columns
from petriscope_tui.screens.lists import ListPage
from petriscope_tui.widgets.table import Field


class Term(NamedTuple):
    """A term that some feature is enriched for."""

    kind: str
    name: str
    features: int


class PathwaysPage(ListPage):
    """A line to type in, terms, the features of one."""

    NAME = "pathways"
    AUTO_FOCUS = "#needle"
    ABSENT = "no annotation of gene lists"
    TYPED = "a term, or part of one: ribosome"

    def list_things(self, atlas: Atlas) -> None:
        text = self.query_one("#needle").value  # type: ignore[attr-defined]
        kinds = [kind.name for kind in KINDS if kind.name in atlas.kinds]
        self.things = [Term(*row) for row in atlas.named(kinds, text, 200)]
        fields = [
            self.words("name", "term", 24, flex=True),
            Field("kind", "kind", 8, lambda t: BY_NAME[t.kind].one, lambda t: self.palette.dim),
            self.number("features", "features", 8, "count"),
        ]
        self.put("things", self.things, fields, "Terms")
        if self.things:
            self.chosen(atlas, self.table("things").cursor)
        else:
            self.found = []
            self.put("found", [], self.feature_fields(atlas), "Features")

    def chosen(self, atlas: Atlas, row: int) -> None:
        term = self.things[row]
        self.found = atlas.enriched(term.kind, term.name)
        fields = [
            *self.feature_fields(atlas),
            self.number("q", "q", 8, "p"),
            self.number("estimate", "odds", 6, "number"),
            self.words("scope", "from", 10),
            self.words("label", "label", 12, flex=True),
        ]
        more = "" if len(self.found) == term.features else f", {len(self.found)} shown"
        self.put("found", self.found, fields, f"{term.features} features{more}, smallest q first")
        counts = atlas.annotated(term.kind, term.name)
        self.around(lambda width: self._drawn(atlas, counts, width), title=term.name)

    def _drawn(self, atlas: Atlas, counts: list[Listed], width: int) -> Text:
        """Features of each layer, as columns."""
        p, text = self.palette, Text()
        of = {one.layer: one.features for one in counts}
        layers = list(atlas.layer_names)
        room = max(min((width - 1) // max(len(layers), 1), 3), 1)
        for line in columns([of.get(layer, 0) for layer in layers], 4, self.glyphs, room):
            text.append(line + "\n", style=p.accent)
        most = max(counts, key=lambda one: one.features, default=None)
        if most is not None:
            first, last = (atlas.layer_names[layer] for layer in (layers[0], layers[-1]))
            name = atlas.layer_names[most.layer]
            text.append(
                f"layers {first} to {last}; most in {name}: {show(most.features, 'count')} "
                f"(q < {bound(atlas.thresholds.alpha)}, or not tested)",
                style=p.dim,
            )
        return text

    def query_of(self, row: int) -> str | None:
        term = self.things[row]
        return f'{BY_NAME[term.kind].filters[0]}:"{term.name}"'
