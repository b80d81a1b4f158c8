"""The screen Causal draws ablation and steering curves with every arm, so that an effect is always
seen beside its controls."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll

from petriscope.atlas.query import Atlas
from petriscope.atlas.records import CurvePoint
from petriscope.atlas.show import axis, interval, number, show
from petriscope_tui.evidence import arm_rank, curve
from petriscope_tui.screens.base import Page
from petriscope_tui.widgets.block import Block
from petriscope_tui.widgets.table import Field, ListRows, VirtualTable

RIVALS = ("matched_random", "random", "norm_matched_random", "random_direction")


class CausalPage(Page):
    """Two plots and the table of all points."""

    NAME = "causal"
    AUTO_FOCUS = "#body"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,right_square_bracket", "layer(1)", "Next layer"),
        Binding("p,left_square_bracket", "layer(-1)", "Previous"),
        Binding("g", "lineage", "Stratum"),
        Binding("t", "swap", "Other table"),
        Binding("y", "copy", "Copy table", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.layer_at, self.lineage_at, self.table_of = 0, 0, "ablation"
        self.points: dict[str, list[CurvePoint]] = {"ablation": [], "steering": []}

    def body(self) -> ComposeResult:
        with VerticalScroll(id="body"):
            with Horizontal(classes="pair"):
                yield Block(id="ablation")
                yield Block(id="steering")
            yield VirtualTable(
                id="points",
                empty="no causal experiment in this atlas (stages ablation and steering)",
            )

    def on_mount(self) -> None:
        self.query_one("#points").add_class("framed")
        super().on_mount()

    def fill(self, atlas: Atlas) -> None:
        self.points = {name: atlas.curves(name) for name in ("ablation", "steering")}
        self._draw()

    def depths(self) -> list[int | None]:
        """Layers with any curve."""
        found = {pt.layer for points in self.points.values() for pt in points}
        return sorted(found, key=lambda x: -1 if x is None else x)

    def lineages(self, analysis: str, layer: int | None) -> list[str | None]:
        """Lineages with curves of this analysis and layer."""
        return sorted(
            {pt.lineage for pt in self.points[analysis] if pt.layer == layer}, key=lambda x: x or ""
        )

    def shown(self, analysis: str) -> tuple[list[CurvePoint], str]:
        """The points on view and what they belong to."""
        layers = self.depths()
        if not layers:
            return [], ""
        with_curves = [x for x in layers if any(pt.layer == x for pt in self.points[analysis])]
        wanted = layers[self.layer_at % len(layers)]
        layer = wanted if wanted in with_curves else with_curves[0] if with_curves else wanted
        lineages = self.lineages(analysis, layer)
        lineage = lineages[self.lineage_at % len(lineages)] if lineages else None
        points = [pt for pt in self.points[analysis] if pt.layer == layer and pt.lineage == lineage]
        points.sort(key=lambda pt: (arm_rank(pt.arm), pt.arm, pt.x))
        words = [f"layer {layer}" if layer is not None else "", lineage or ""]
        return [pt._replace(lineage=None) for pt in points], ", ".join(w for w in words if w)

    def _draw(self) -> None:
        p, g = self.palette, self.glyphs
        for name in ("ablation", "steering"):
            points, of = self.shown(name)
            draw = lambda width, points=points, name=name: self._plot(points, name, width)
            self.query_one(f"#{name}", Block).show(draw, title=f"{name.capitalize()}  {of}")
        points, of = self.shown(self.table_of)
        rival = next((arm for arm in RIVALS if any(pt.arm == arm for pt in points)), "")
        rivals = {pt.x: pt.estimate for pt in points if pt.arm == rival}
        fields = [
            Field("arm", "arm", 26, lambda pt: pt.arm.replace("_", " ")),
            Field(
                "x",
                "k" if self.table_of == "ablation" else "alpha",
                6,
                lambda pt: axis(pt.x),
                right=True,
            ),
            Field(
                "estimate",
                "estimate",
                9,
                lambda pt: show(pt.estimate, "number", g.none),
                lambda _: "bold",
                True,
            ),
            Field(
                "interval",
                "95 %",
                20,
                lambda pt: interval(pt.lo, pt.hi, none=g.none),
                lambda _: p.dim,
                True,
            ),
            Field(
                "over",
                f"minus {rival or 'random'}".replace("_", " "),
                26,
                lambda pt: _over(pt, rival, rivals, g.none),
                right=True,
            ),
            Field("n", "n", 6, lambda pt: show(pt.n, "count", g.none), lambda _: p.dim, True),
        ]
        table = self.query_one("#points", VirtualTable)
        table.edge = g.cursor
        table.border_title = f"Points of {self.table_of}, {of}   t: the other table"
        table.show(ListRows([(pt,) * len(fields) for pt in points]), fields)

    def _plot(self, points: list[CurvePoint], name: str, width: int) -> Text:
        if not points:
            return Text(f"no {name} in this atlas (stage {name})", style=self.palette.dim)
        return curve(points, name, self.palette, self.glyphs, width, 17)

    def action_layer(self, step: int) -> None:
        """Another layer."""
        self.layer_at += step
        self._draw()

    def action_lineage(self) -> None:
        """Another lineage."""
        self.lineage_at += 1
        self._draw()

    def action_swap(self) -> None:
        """Show the other analysis in the table."""
        self.table_of = "steering" if self.table_of == "ablation" else "ablation"
        self._draw()

    def action_copy(self) -> None:
        """The points of the table as tab-separated text."""
        points, _ = self.shown(self.table_of)
        lines = ["\t".join(CurvePoint._fields)]
        lines += ["\t".join("" if v is None else str(v) for v in pt) for pt in points]
        self.owner.copy("\n".join(lines))


def _over(point: CurvePoint, rival: str, rivals: dict[float, float | None], none: str) -> str:
    control = rivals.get(point.x)
    if control is None or point.estimate is None or point.arm == rival:
        return none
    difference = point.estimate - control
    return f"{'-' if difference < 0 else '+'}{number(abs(difference))}"
