"""The screen Modules lists communities of features that fire on the same tokens, with the terms and
the features in each."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from rich.text import Text
from textual.binding import Binding, BindingType

from petriscope.atlas.query import Atlas
from petriscope.atlas.records import Module
from petriscope.atlas.show import show
from petriscope_tui.plots import bar
from petriscope_tui.screens.lists import ListPage
from petriscope_tui.widgets.table import Field

LINKED = 6
"""Linked modules that are named."""


class Member(NamedTuple):
    """A feature of a module."""

    id: int
    label: str | None
    density: float | None


class ModulesPage(ListPage):
    """Modules of all layers, or of one."""

    NAME = "modules"
    ABSENT = "no modules"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right_square_bracket", "layer(1)", "Next layer"),
        Binding("left_square_bracket", "layer(-1)", "Previous layer"),
        Binding("s", "sort", "By size or layer"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.only: int | None = None
        self.by_size = False

    def list_things(self, atlas: Atlas) -> None:
        everything = atlas.modules()
        self.things = [m for m in everything if self.only in (None, m.layer)]
        if self.by_size:
            self.things.sort(key=lambda m: -(m.size or 0))
        names, p = atlas.layer_names, self.palette
        fields = [
            Field("layer", "layer", 13, lambda m: names.get(m.layer, ""), lambda m: p.dim),
            self.number("module", "module", 6, "count"),
            self.words("graph", "graph", 5),
            self.number("size", "features", 8, "count"),
            *(
                self.number(key, key, 9, "number")
                for key in ("density", "stability")
                if any(getattr(m, key) is not None for m in everything)
            ),
            self.words("label", "terms", 20, flex=True),
        ]
        where = "all layers" if self.only is None else f"layer {names[self.only]}"
        self.put("things", self.things, fields, f"{len(self.things)} modules, {where}")
        self.around(lambda width: self._drawn(atlas, width), title="Modules by layer")
        if self.things:
            self.chosen(atlas, self.table("things").cursor)

    def _drawn(self, atlas: Atlas, width: int) -> Text:
        """Number of modules, and the share of alive features that lie in one."""
        p, text = self.palette, Text()
        inside = {n.layer: n for n in atlas.numbers() if n.name == "in a module"}
        counts = {layer: len(atlas.modules(layer)) for layer in {m.layer for m in atlas.modules()}}
        text.append("features that fire on the same tokens; their number is a choice of ", p.dim)
        text.append("resolution, not a finding\n", style=p.dim)
        chosen = (
            [self.only] if self.only is not None else sorted(counts)[:: max(len(counts) // 6, 1)]
        )
        for layer in chosen:
            name, share = atlas.layer_names.get(layer, ""), inside.get(layer)
            text.append(f"{name:<14}", style=p.dim)
            text.append(f"{counts.get(layer, 0):>3} modules  ")
            if share is not None:
                text.append(f"{show(share.value, 'share'):>7} of alive features ")
                text.append(bar(share.value, max(width - 56, 8), self.glyphs), style=p.accent)
            text.append("\n")
        text.rstrip()
        return text

    def chosen(self, atlas: Atlas, row: int) -> None:
        module = self.things[row]
        ids = atlas.members(module.number)
        rows = [
            Member(i, *values)
            for start in range(0, len(ids), 500)
            for i, values in zip(
                ids[start : start + 500], atlas.rows(ids[start : start + 500], ["label", "density"])
            )
        ]
        self.found = sorted(rows, key=lambda x: (x.label is None, x.id))
        fields = [
            *self.feature_fields(atlas)[:1],
            self.number("density", "density", 8, "share"),
            self.words("label", "label", 12, flex=True),
        ]
        name = atlas.layer_names.get(module.layer, "")
        title = f"Module {module.module} of {f'layer {name}' if name.isdigit() else name}"
        self.put("found", self.found, fields, f"{title}: {len(self.found):,} features")
        if "module_edges" in atlas.tables:
            linked = self._linked(atlas, module)
            drawn = lambda width: Text("\n").join([self._drawn(atlas, width), linked])
            self.around(drawn if linked.plain else lambda width: self._drawn(atlas, width))

    def _linked(self, atlas: Atlas, module: Module) -> Text:
        """Modules of its layer that it is linked with, those furthest above chance first."""
        p, text = self.palette, Text()
        here = {m.number: m.module for m in atlas.modules(module.layer)}
        edges = [
            e for e in atlas.module_edges(module.layer) if module.number in (e.number, e.other)
        ]
        for edge in edges[:LINKED]:
            other = edge.other if edge.number == module.number else edge.number
            text.append(f"   {here[other]}: ", style=p.accent)
            text.append(f"{show(edge.weight, 'count')} ")
            text.append(f"({show(edge.null_weight, 'number')})", style=p.dim)
        if not text.plain:
            return text
        more = f"   and {len(edges) - LINKED} more" if len(edges) > LINKED else ""
        text.append(more, style=p.dim)
        head = Text(f"links of module {module.module} with others (by their degrees alone):", p.dim)
        return Text.assemble(head, text)

    def query_of(self, row: int) -> str | None:
        module = self.things[row]
        return f"layer:{module.layer} module:{module.module}"

    def action_layer(self, step: int) -> None:
        """Modules of the next layer, or of all."""
        atlas = self.owner.atlas
        if atlas is None:
            return
        layers = [None, *sorted({m.layer for m in atlas.modules()})]
        self.only = layers[(layers.index(self.only) + step) % len(layers)]
        self.fill(atlas)

    def action_sort(self) -> None:
        """By size, or by layer."""
        self.by_size = not self.by_size
        self.populate()
