"""The screen Layers says how good each autoencoder is, how its features are spread, how layers flow
into each other."""

from __future__ import annotations

from textwrap import wrap
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll

from petriscope.atlas.query import Atlas
from petriscope.atlas.records import Layer
from petriscope.atlas.show import bound, show
from petriscope_tui.plots import Series, bar, line_plot
from petriscope_tui.screens.base import Page
from petriscope_tui.widgets.block import Block
from petriscope_tui.widgets.table import Field, ListRows, VirtualTable


class LayersPage(Page):
    """One row per layer; the chosen layer's histogram; the flow between layers."""

    NAME = "layers"
    AUTO_FOCUS = "#layer-table"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "Features", show=False),
        Binding("f", "open", "Its features"),
        Binding("c", "compare", "Compare layers"),
        Binding("y", "copy", "Copy table"),
    ]

    def body(self) -> ComposeResult:
        with VerticalScroll(id="body", can_focus=False):
            yield VirtualTable(id="layer-table", empty="no layer")
            with Horizontal(classes="pair"):
                yield Block(id="density", title="Feature density")
                yield Block(id="quality", title="Quality by layer")
            yield Block(id="flow", title="Flow between layers")

    def on_mount(self) -> None:
        table = self.query_one("#layer-table")
        table.border_title = "Layers"
        table.add_class("framed")
        super().on_mount()

    def fill(self, atlas: Atlas) -> None:
        layers = atlas.layers()
        table = self.query_one("#layer-table", VirtualTable)
        table.edge = self.glyphs.cursor
        fields = self._fields()
        if any(x.model for x in layers):
            name = lambda x: atlas.layer_names[x.layer]
            fields.insert(1, Field("model", "model", 13, name, lambda _: self.palette.dim))
        none = self.glyphs.none  # without a contrast its columns would be empty
        fields = [f for f in fields if atlas.contrasted or any(f.text(x) != none for x in layers)]
        table.show(ListRows([(x,) * len(fields) for x in layers]), fields, table.cursor)
        table.styles.height = min(len(layers) + 3, 16)
        self.query_one("#quality", Block).show(lambda width: self._quality(layers, width))
        flow = self.query_one("#flow", Block)
        flow.display = bool(atlas.flow()) or "links" not in atlas.tables  # which have a page
        flow.show(lambda width: self._flow(atlas, width))

    def _fields(self) -> list[Field]:
        p, none = self.palette, self.glyphs.none

        def one(key: str, head: str, width: int, form: str, style: str = "") -> Field:
            return Field(
                key, head, width, lambda x: show(getattr(x, key), form, none), lambda _: style, True
            )

        def ends(x: Layer) -> str:
            return none if x.lo is None or x.hi is None else f"{100 * x.lo:.1f} to {100 * x.hi:.1f}"

        return [
            one("layer", "layer", 5, "count", f"bold {p.accent}"),
            one("alive", "alive", 7, "count"),
            one("n_context", "context", 7, "count"),
            one("fraction", "fraction", 8, "share", "bold"),
            Field("interval", "95 %", 13, ends, lambda _: p.dim, True),
            one("random_init_fraction", "random", 7, "share", p.dim),
            one("stable_fraction", "stable", 7, "share"),
            one("fvu", "FVU", 7, "number"),
            one("l0", "L0", 6, "number"),
            one("dead", "dead", 7, "share"),
            one("loss_recovered", "recovered", 9, "share"),
            one("n_published", "published", 9, "count", p.dim),
        ]

    def on_virtual_table_highlighted(self, message: VirtualTable.Highlighted) -> None:
        atlas, layer = self.owner.atlas, self.current()
        if atlas is not None and layer is not None:
            counts = atlas.density_histogram(layer)
            name = atlas.layer_names[layer]
            title = f"Feature density, {f'layer {name}' if name.isdigit() else name}"
            self.query_one("#density", Block).show(
                lambda width: self._density(counts, width), title=title
            )

    def current(self) -> int | None:
        """The layer under the cursor."""
        table = self.query_one("#layer-table", VirtualTable)
        row = table.row(table.cursor)
        return row[0].layer if row else None

    def _density(self, counts: list[tuple[float, int]], width: int) -> Text:
        p, text = self.palette, Text()
        if not counts:
            return Text("no densities", style=p.dim)
        top = max(n for _, n in counts)
        room = max(width - 22, 8)
        text.append(f"{'fires on':<12} {'features':>8}\n", style=p.dim)
        for decade, n in counts:
            text.append(f"{'> ' + show(10**decade, 'share'):<12}", style=p.dim)
            text.append(f" {n:>8,} ")
            text.append(bar(n / top, room, self.glyphs).rstrip() + "\n", style=p.accent)
        text.rstrip()
        return text

    def _quality(self, layers: list[Layer], width: int) -> Text:
        p = self.palette
        if any(x.model for x in layers):
            return self._models(layers, width)
        series = []
        for name, mark, style, values in (
            (
                "FVU (share of variance not explained)",
                "f",
                p.accent,
                [(x.layer, x.fvu) for x in layers],
            ),
            ("dead latents (share)", "d", p.not_supported, [(x.layer, x.dead) for x in layers]),
            ("context fraction", "c", p.target, [(x.layer, x.fraction) for x in layers]),
        ):
            points = [(float(layer), value) for layer, value in values if value is not None]
            if points:
                series.append(Series(name, points, style, mark, [None] * len(points)))
        return line_plot(series, width, 14, self.glyphs, p.dim, "layer", "share")

    def _models(self, layers: list[Layer], width: int) -> Text:
        """FVU of each model's layers."""
        p, series = self.palette, []
        for name, style in zip(dict.fromkeys(x.model for x in layers), (p.accent, p.target)):
            of = [x for x in layers if x.model == name and x.fvu is not None]
            points = [(float(x.depth or 0), x.fvu or 0.0) for x in of]
            if points:
                mark = (name or "o")[:1].lower()
                label = f"{name}: FVU (share of variance not explained)"
                series.append(Series(label, points, style, mark, [None] * len(points)))
        return line_plot(series, width, 14, self.glyphs, p.dim, "layer", "share")

    def _flow(self, atlas: Atlas, width: int) -> Text:
        """Per pair of layers: how many features go on as a close decoder match, and how many
        context features as one."""
        p, flows = self.palette, atlas.flow()
        if not flows:
            return Text("no cross-layer similarities in this atlas", style=p.dim)
        text = Text()
        head = (
            f"{'from':>4} {'to':>3} {'cosine':>7} {'continue':>16} {'context':>8} "
            f"{'continue as context':>20}"
        )
        text.append(head + "\n", style=p.dim)
        room = max(min(width - len(head) - 2, 40), 0)
        for f in flows:
            text.append(f"{f.layer:>4} {f.other_layer:>3} ", style=f"bold {p.accent}")
            text.append(f"{show(f.mean_cosine, 'number', self.glyphs.none):>7} ")
            text.append(f"{_part(f.continued, f.features):>16} ", style=p.dim)
            text.append(f"{f.context_features:>8,} ")
            text.append(f"{_part(f.context_continued, f.context_features):>20} ", style=p.dim)
            if room > 4 and f.context_features:
                text.append(
                    " " + bar(f.context_continued / f.context_features, room, self.glyphs).rstrip(),
                    style=p.target,
                )
            text.append("\n")
        alpha, stable = bound(atlas.thresholds.alpha), atlas.thresholds.stable
        note = (
            f"continue: best decoder match in the other layer has cosine >= {stable:g}; "
            f"as context: that match has q < {alpha} "
        )
        note += "and the same direction; cosine: mean of the best matches"
        text.append("\n".join(wrap(note, width)), style=p.dim)
        return text

    def on_virtual_table_selected(self, message: VirtualTable.Selected) -> None:
        self.action_open()

    def action_open(self) -> None:
        """The features of this layer."""
        layer = self.current()
        if layer is not None:
            self.owner.open_filter(f"layer:{layer}")

    def action_compare(self) -> None:
        """Compare this layer with another."""
        from petriscope_tui.screens.dialogs import ChoiceDialog

        atlas, here = self.owner.atlas, self.current()
        if atlas is None or here is None:
            return
        choices = [(str(x.layer), f"layer {x.layer}") for x in atlas.layers() if x.layer != here]

        def go(other: str | None) -> None:
            if other is not None:
                self.owner.compared_layers = (here, int(other))
                self.owner.compared = None
                self.owner.action_visit("compare")

        self.app.push_screen(ChoiceDialog(f"Compare layer {here} with", choices), go)

    def action_copy(self) -> None:
        """The table as tab-separated text."""
        atlas = self.owner.atlas
        if atlas:
            lines = ["\t".join(Layer._fields)]
            lines += ["\t".join("" if v is None else f"{v:.6g}" for v in x) for x in atlas.layers()]
            self.owner.copy("\n".join(lines))


def _part(part: int, whole: int) -> str:
    return f"{part:,} ({100 * part / whole:.0f} %)" if whole else f"{part:,}"
