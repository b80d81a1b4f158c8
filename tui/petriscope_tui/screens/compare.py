"""The screen Compare sets two features, or two layers, side by side, line by line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll

from petriscope.atlas.evidence import checks
from petriscope.atlas.query import Atlas
from petriscope.atlas.records import Activation, Feature, Layer
from petriscope.atlas.schema import Declared, feature_name, parse_feature
from petriscope.atlas.show import bound, interval, show, spoken
from petriscope.enrich.kinds import ENRICHED, SCORED, Kind
from petriscope.errors import UserError
from petriscope_tui.plots import spark
from petriscope_tui.screens.base import Page
from petriscope_tui.widgets.block import Block

LAYER_ROWS = (
    ("alive", "alive features", "count"),
    ("n_context", "context features (q < {alpha})", "count"),
    ("fraction", "fraction of alive", "share"),
    ("random_init_fraction", "null: random-init model", "share"),
    ("stable_fraction", "alive, stable and context", "share"),
    ("fvu", "FVU, held out", "number"),
    ("l0", "L0", "number"),
    ("dead", "dead latents", "share"),
    ("loss_recovered", "loss recovered", "share"),
)


class ComparePage(Page):
    """Two of a kind side by side."""

    NAME = "compare"
    AUTO_FOCUS = "#body"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "choose(0)", "Left"),
        Binding("b", "choose(1)", "Right"),
        Binding("s", "swap", "Swap"),
        Binding("o", "open(0)", "Open left", show=False),
        Binding("O", "open(1)", "Open right", show=False),
        Binding("y", "copy", "Copy"),
    ]

    def body(self) -> ComposeResult:
        with VerticalScroll(id="body"):
            yield Block(id="pair-table", title="Compare")
            yield Block(id="pair-activation", title="Activation")
            yield Block(id="pair-terms", title="Enriched terms")

    def resumed(self) -> None:
        self.populate()

    def fill(self, atlas: Atlas) -> None:
        for name in ("pair-activation", "pair-terms"):
            self.query_one(f"#{name}").display = self.owner.compared is not None
        block = self.query_one("#pair-table", Block)
        if self.owner.compared is not None:
            try:
                left, right = (atlas.feature(i) for i in self.owner.compared)
            except UserError as error:
                message = str(error)
                block.show(lambda width: Text(message, style=self.palette.not_supported))
                return
            title = f"{feature_name(left.id)} and {feature_name(right.id)}"
            block.show(lambda width: self._features(left, right, atlas), title=title)
            self.query_one("#pair-activation", Block).show(
                lambda width: self._activation(left, right, atlas.declared, width),
                title=f"Activation by {atlas.declared.unit}",
            )
            self.query_one("#pair-terms", Block).show(
                lambda width: self._terms(atlas, left, right, width)
            )
        elif self.owner.compared_layers is not None:
            layers = {x.layer: x for x in atlas.layers()}
            a, b = (layers.get(i) for i in self.owner.compared_layers)
            if a and b:
                block.show(
                    lambda width: self._layers(a, b, atlas.thresholds.alpha),
                    title=f"Layers {a.layer} and {b.layer}",
                )
        else:
            block.show(lambda width: self._invitation(), title="Compare")

    def _invitation(self) -> Text:
        p, text = self.palette, Text("Nothing to compare yet.\n\n")
        for key, what in (
            ("m", "on Features or Feature marks one; the second mark comes here"),
            ("a b", "here choose the left and the right feature by name"),
            ("c", "on Layers compares two layers"),
        ):
            text.append(f"{key:>5}  ", style=f"bold {p.accent}")
            text.append(what + "\n")
        return text

    def _lines(self, rows: Sequence[tuple[str, str, str]], heads: tuple[str, str]) -> Text:
        p, text = self.palette, Text()
        text.append(f"{'':<30}{heads[0]:>22}  {heads[1]:>22}\n", style=f"bold {p.accent}")
        for name, a, b in rows:
            text.append(f"{name:<30}", style=p.dim)
            text.append(f"{a:>22}  {b:>22}\n", style="" if a != b else p.dim)
        text.rstrip()
        return text

    def _features(self, left: Feature, right: Feature, atlas: Atlas) -> Text:
        none, judged = self.glyphs.none, (atlas.thresholds, atlas.declared)

        def both(name: str, key: str, form: str) -> tuple[str, str, str]:
            return name, show(left.values[key], form, none), show(right.values[key], form, none)

        rows = [
            both("label", "label", "text"),
            (
                "higher",
                *(spoken(f.values["direction"], none) for f in (left, right)),
            ),
            both("strongest in", "lineage", "text"),
            both("CDS t (corrected)", "cds", "signed"),
            both("q", "q", "p"),
            both("Hedges g", "effect", "signed"),
            (
                "  95 %",
                *(interval(f.values["lo"], f.values["hi"], "signed", none) for f in (left, right)),
            ),
            both("CDS published", "cds_published", "number"),
            both("density", "density", "share"),
            both("stability", "stability", "number"),
            both("causal effect", "causal_effect", "number"),
            both("  percentile among random", "causal_percentile", "share"),
            (
                "checks held",
                *(
                    f"{sum(c.holds is True for c in checks(f, *judged))} of 5"
                    for f in (left, right)
                ),
            ),  # type: ignore[list-item]
        ]
        other = {e.lineage: e for e in right.lineages}
        for e in left.lineages:
            there = other.get(e.lineage)
            rows.append(
                (
                    f"t in {e.lineage}",
                    show(e.t, "signed", none),
                    show(there.t if there else None, "signed", none),
                )
            )
        near = next((n for kind in left.neighbors.values() for n in kind if n.id == right.id), None)
        rows.append(
            ("similarity", show(near.value if near else None, "number", "not among nearest"), "")
        )
        names = feature_name(left.id), feature_name(right.id)
        return self._lines(rows, names)  # type: ignore[arg-type]

    def _activation(self, left: Feature, right: Feature, words: Declared, width: int) -> Text:
        p, g, text = self.palette, self.glyphs, Text()
        there = {a.unit.name: a for a in right.activation}
        text.append(
            f"{words.unit:<20}{feature_name(left.id):>8}  {'':<16}   {feature_name(right.id):>8}\n",
            style=p.dim,
        )
        for a in left.activation:
            b = there.get(a.unit.name)
            color = p.side(a.unit.values.get(words.condition), words)
            text.append(f"{a.unit.name[:19]:<20}", style=color)
            text.append(f"{show(a.mean, 'number', g.none):>8}  ")
            text.append(f"{_spark(a, g):<16}", style=color)
            text.append(f"   {show(b.mean if b else None, 'number', g.none):>8}  ")
            text.append((_spark(b, g) if b else "") + "\n", style=color)
        text.append("mean activation and distribution (log counts)", style=p.dim)
        return text

    def _terms(self, atlas: Atlas, left: Feature, right: Feature, width: int) -> Text:
        p, text = self.palette, Text()
        for kind in sorted(_compared(atlas), key=lambda kind: bool(kind.scope)):
            a, b = (
                {
                    x.term
                    for x in atlas.annotations(f.id, kind.name)
                    if (kind in SCORED if x.q is None else x.q < atlas.thresholds.alpha)
                }
                for f in (left, right)
            )
            for label, terms in (
                (f"{kind.many} of both", a & b),
                ("left alone", a - b),
                ("right alone", b - a),
            ):
                text.append(f"{label:<18}", style=p.dim)
                shown = ", ".join(sorted(terms)[:8]) or self.glyphs.none
                text.append(
                    shown[: max(width - 18, 10)] + "\n",
                    style="bold" if "both" in label and terms else "",
                )
        text.append(f"enriched at q < {bound(atlas.thresholds.alpha)}", style=p.dim)
        return text

    def _layers(self, a: Layer, b: Layer, alpha: float) -> Text:
        none = self.glyphs.none
        rows = [
            (
                head.format(alpha=bound(alpha)),
                show(getattr(a, key), form, none),
                show(getattr(b, key), form, none),
            )
            for key, head, form in LAYER_ROWS
        ]
        rows.insert(
            3, ("  95 %", interval(a.lo, a.hi, "share", none), interval(b.lo, b.hi, "share", none))
        )
        return self._lines(rows, (f"layer {a.layer}", f"layer {b.layer}"))

    def action_choose(self, side: int) -> None:
        """Name the feature of one side."""
        from petriscope_tui.screens.dialogs import PromptDialog

        atlas = self.owner.atlas
        if atlas is None:
            return

        def put(text: str | None) -> None:
            identifier = parse_feature(text) if text else None
            if identifier is None or not atlas.has(identifier):
                if text:
                    self.notify(f"no feature {text!r}: write L6/1234", severity="warning")
                return
            here = self.owner.current_feature
            pair = list(self.owner.compared or (here if here is not None else identifier,) * 2)
            pair[side] = identifier
            self.owner.compared = (pair[0], pair[1])
            self.populate()

        self.app.push_screen(
            PromptDialog("Left feature" if side == 0 else "Right feature", "L"), put
        )

    def action_swap(self) -> None:
        """Left becomes right."""
        if self.owner.compared:
            self.owner.compared = (self.owner.compared[1], self.owner.compared[0])
        elif self.owner.compared_layers:
            self.owner.compared_layers = (
                self.owner.compared_layers[1],
                self.owner.compared_layers[0],
            )
        self.populate()

    def action_open(self, side: int) -> None:
        """The page of one of the two."""
        if self.owner.compared:
            self.owner.open_feature(self.owner.compared[side])

    def action_copy(self) -> None:
        """Copy both names."""
        if self.owner.compared:
            self.owner.copy(" ".join(feature_name(i) for i in self.owner.compared))


def _spark(one: Activation, glyphs) -> str:  # type: ignore[no-untyped-def]
    return spark(one.histogram, glyphs)


def _compared(atlas: Atlas) -> list[Kind]:
    """The kinds of annotation that are compared: scored ones where the atlas has any."""
    return [*ENRICHED, *(kind for kind in SCORED if kind.name in atlas.kinds)]
