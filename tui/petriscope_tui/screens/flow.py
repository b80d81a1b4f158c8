"""The screen Flow shows links between layers: how many features have one, and the strongest."""

from __future__ import annotations

from textwrap import wrap
from typing import NamedTuple

from rich.text import Text

from petriscope.atlas.query import Atlas
from petriscope.atlas.records import Link, Number
from petriscope.atlas.schema import feature_name
from petriscope.atlas.show import show
from petriscope_tui.plots import Series, line_plot
from petriscope_tui.screens.lists import ListPage
from petriscope_tui.widgets.table import Field

NOTE = (
    "Linked features fire on the same tokens in both layers, as far as gene identity alone already "
    "makes them; a link does not say that a feature persists."
)


class Pair(NamedTuple):
    """Two layers, and what was measured of them."""

    layer: int
    other: int
    numbers: dict[str, Number]
    linked: bool


class FlowPage(ListPage):
    """Pairs of layers and their links."""

    NAME = "flow"
    ABSENT = "no links between layers"

    def list_things(self, atlas: Atlas) -> None:
        linked = set(atlas.linked_layers())
        measured: dict[tuple[int, int], dict[str, Number]] = {pair: {} for pair in linked}
        for number in atlas.numbers():
            if number.layer is not None and number.other_layer is not None:
                key = (number.layer, number.other_layer)
                measured.setdefault(key, {})[number.name] = number
        pairs = [Pair(*key, numbers, key in linked) for key, numbers in measured.items()]
        self.things = sorted(pairs, key=lambda pair: (not pair.linked, pair.layer, pair.other))
        names = atlas.layer_names
        columns = list(dict.fromkeys(name for pair in self.things for name in pair.numbers))
        fields = [
            Field("from", "from", 13, lambda x: names.get(x.layer, "")),
            Field("to", "to", 13, lambda x: names.get(x.other, "")),
            *(self._measured(name) for name in columns),
        ]
        self.put("things", self.things, fields, "Pairs of layers")
        self.around(lambda width: self._drawn(atlas, width), title="Persistence")
        if self.things:
            self.chosen(atlas, self.table("things").cursor)

    def _measured(self, name: str) -> Field:
        none = self.glyphs.none

        def text(pair: Pair) -> str:
            found = pair.numbers.get(name)
            if found is None:
                return none
            form = "share" if found.value <= 1 else "number"
            null = "" if found.null is None else f" (null {show(found.null, form)})"
            return show(found.value, form) + null

        return Field(name, name, max(len(name), 8), text, right=True)

    def _drawn(self, atlas: Atlas, width: int) -> Text:
        """Persistence between neighbors, and what a link is."""
        p = self.palette
        kept = [n for n in atlas.numbers() if n.name == "persistence" and n.layer is not None]
        text = Text("\n".join(wrap(NOTE, max(width, 20))) + "\n", style=p.dim)
        if kept:
            points = [(n.layer or 0, 100 * n.value) for n in kept]
            name = f"% of features found again in the next layer ({kept[0].note or ''})"
            series = Series(name, points, p.accent, "o")
            text.append_text(line_plot([series], width, 8, self.glyphs, p.dim, "layer"))
        text.rstrip()
        return text

    def chosen(self, atlas: Atlas, row: int) -> None:
        pair = self.things[row]
        self.found = atlas.links_between(pair.layer, pair.other)
        p = self.palette
        fields = [
            Field("id", "feature", 10, lambda k: feature_name(k.id), lambda k: f"bold {p.accent}"),
            Field("other", "with", 10, lambda k: feature_name(k.other), lambda k: p.accent),
            Field("value", "value", 8, lambda k: f"{k.kind} {show(k.value, 'number')}", right=True),
            *self._known("tokens", 7, "count"),
            *self._known("p", 7, "p"),
            self.words("label", "label", 14, flex=True),
            self.words("other_label", "of the other", 14, flex=True),
        ]
        names = atlas.layer_names
        ends = f"{names.get(pair.layer, '')} with {names.get(pair.other, '')}"
        title = f"Links of {ends}, strongest first"
        self.put("found", self.found, fields, title)

    def _known(self, key: str, width: int, form: str) -> list[Field]:
        links: list[Link] = self.found
        known = any(getattr(link, key) is not None for link in links)
        return [self.number(key, key, width, form)] if known else []

    def query_of(self, row: int) -> str | None:
        return f"layer:{self.things[row].layer}"
