"""The screen Overview says what was run, what the claims came to, how many context features each
layer has."""

from __future__ import annotations

from textwrap import wrap
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll

from petriscope.atlas.query import Atlas
from petriscope.atlas.records import Claim
from petriscope.atlas.show import bound, plural, show, spoken
from petriscope.claims import NOT_SUPPORTED, SUPPORTED, UNTESTABLE, VERDICTS
from petriscope_tui.plots import Series, bar, line_plot
from petriscope_tui.screens.base import Page
from petriscope_tui.widgets.block import Block
from petriscope_tui.widgets.table import Field, ListRows, VirtualTable
from petriscope_tui.workspace import short_path

ANNOTATED = "annotated"
"""Name of the number of a layer that is drawn where there is no contrast."""
SHARES = (ANNOTATED, "in a module", "with a cell type")
"""Shares of a layer's features, listed where there is no contrast."""


class OverviewPage(Page):
    """The first page."""

    NAME = "overview"
    AUTO_FOCUS = "#claims"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "app.visit('features')", "Features"),
        Binding("p", "app.visit('pipeline')", "Pipeline"),
        Binding("slash", "app.visit('search')", "Search"),
        Binding("y", "copy", "Copy summary"),
    ]

    def body(self) -> ComposeResult:
        with VerticalScroll(id="body"):
            with Vertical(id="claims-card", classes="framed"):
                yield VirtualTable(id="claims", empty="no claims")
                yield Block(id="claim")
            with Horizontal(classes="pair"):
                yield Block(id="counts", title="Context features by layer")
                yield Block(id="layers", title="Layers")
            yield Block(id="run", title="Run")

    def fill(self, atlas: Atlas) -> None:
        self._claims(atlas.claims())
        contrast = any(x.fraction is not None for x in atlas.layers()) or not atlas.numbers()
        title = "Context features by layer" if contrast else "Annotated features by layer"
        self.query_one("#counts", Block).show(lambda width: self._counts(atlas, width), title=title)
        self.query_one("#layers", Block).show(lambda width: self._layers(atlas, width))
        self.query_one("#run", Block).show(lambda width: self._run(atlas, width))

    def _sign(self, verdict: str | None) -> str:
        g = self.glyphs
        return {SUPPORTED: g.yes, NOT_SUPPORTED: g.no}.get(verdict or "", g.unsure)

    def _claims(self, claims: list[Claim]) -> None:
        p, g = self.palette, self.glyphs
        room = max(self.size.width - 6, 60)
        statement = min(max((len(c.statement) for c in claims), default=10), room - 21)
        fields = [
            Field("sign", "", 1, lambda c: self._sign(c.verdict), self._verdict_style),
            Field("statement", "claim", statement, lambda c: c.statement),
            Field(
                "verdict",
                "verdict",
                len(UNTESTABLE),
                lambda c: c.verdict or UNTESTABLE,
                self._verdict_style,
            ),
        ]
        rest = (
            room - statement - 23
        )  # a number cut short says nothing: shown where it has room, in full below
        corrected = any(c.corrected for c in claims)
        if rest >= 24 and corrected:
            fields.append(
                Field("corrected", "corrected", 24, lambda c: c.corrected or g.none, flex=True)
            )
        elif rest >= 24:
            for key, head in (("published", "published"), ("as_published", "our, as run")):
                text = lambda c, key=key: getattr(c, key) or g.none
                fields.append(Field(key, head, 24, text, lambda _: p.dim, flex=True))
        if rest >= 80 and corrected:
            fields.append(
                Field(
                    "published",
                    "published",
                    24,
                    lambda c: c.published or g.none,
                    lambda _: p.dim,
                    flex=True,
                )
            )
        table = self.query_one("#claims", VirtualTable)
        table.edge = g.cursor
        table.show(ListRows([(c,) * len(fields) for c in claims]), fields, table.cursor)
        table.styles.height = min(max(len(claims), 1), max(self.size.height - 26, 8)) + 1
        tally = dict.fromkeys(VERDICTS, 0)
        for claim in claims:
            verdict = claim.verdict or UNTESTABLE
            tally[verdict] = tally.get(verdict, 0) + 1
        counts = "   ".join(f"{n} {word}" for word, n in tally.items() if n)
        self.query_one("#claims-card").border_title = f"Claims   {counts}" if claims else "Claims"

    def _verdict_style(self, claim: Claim) -> str:
        return self.palette.verdict(claim.verdict)

    def on_virtual_table_highlighted(self, message: VirtualTable.Highlighted) -> None:
        row = message.table.row(message.row)
        claim = row[0] if row else None
        self.query_one("#claim", Block).show(lambda width: self._claim(claim, width))

    def _claim(self, claim: Claim | None, width: int) -> Text:
        """Everything about one claim."""
        p, text = self.palette, Text()
        if claim is None:
            return Text("no claims were evaluated in this run (stage claims)", style=p.dim)
        for label, value, style in (
            ("published", claim.published, ""),
            ("our, as run", claim.as_published, ""),
            ("corrected", claim.corrected, "bold"),
            ("interval", claim.interval, ""),
            ("control", claim.control, ""),
            ("rule", claim.rule, p.dim),
            (
                "why",
                claim.note if claim.note != f"{claim.rule} is false" else "the rule does not hold",
                p.dim,
            ),
        ):
            if value:
                text.append(f"{label:<12}", style=p.dim)
                text.append(
                    f"\n{'':<12}".join(wrap(str(value), max(width - 12, 20))) + "\n", style=style
                )
        text.rstrip()
        return text

    def _counts(self, atlas: Atlas, width: int) -> Text:
        p = self.palette
        layers = [x for x in atlas.layers() if x.fraction is not None]
        if not layers and atlas.numbers():
            return self._annotated(atlas, width)
        real = Series(
            f"trained: share of alive features with q < {bound(atlas.thresholds.alpha)}",
            [(x.layer, 100 * (x.fraction or 0)) for x in layers],
            p.target,
            "o",
            [
                (100 * x.lo, 100 * x.hi) if x.lo is not None and x.hi is not None else None
                for x in layers
            ],
        )
        null = [x for x in layers if x.random_init_fraction is not None]
        random = Series(
            "randomly initialized model (null)",
            [(x.layer, 100 * (x.random_init_fraction or 0)) for x in null],
            p.dim,
            "x",
            [
                (100 * x.random_init_lo, 100 * x.random_init_hi)
                if x.random_init_lo is not None and x.random_init_hi is not None
                else None
                for x in null
            ],
        )
        series = [real, *([random] if null else [])]
        return line_plot(series, width, 13, self.glyphs, p.dim, "layer", "% of alive features")

    def _annotated(self, atlas: Atlas, width: int) -> Text:
        """Share of alive features with an annotation, of an atlas without a contrast."""
        p, found = self.palette, [n for n in atlas.numbers() if n.name == ANNOTATED]
        model = {x.layer: (x.model or "", x.depth or 0) for x in atlas.layers()}
        series = []
        for name, style in zip(dict.fromkeys(m for m, _ in model.values()), (p.target, p.accent)):
            of = [(model[n.layer or 0][1], n) for n in found if model[n.layer or 0][0] == name]
            points = [(depth, 100 * n.value) for depth, n in of]
            series.append(
                Series(
                    f"{name} annotated, {of[0][1].note or ''}" if of else name,
                    points,
                    style,
                    name[:1].lower() or "o",
                )
            )
            null = [(depth, 100 * n.null) for depth, n in of if n.null is not None]
            if null:
                series.append(Series(f"{name} by chance", null, p.dim, "x"))
        return line_plot(series, width, 13, self.glyphs, p.dim, "layer", "% of alive features")

    def _layers(self, atlas: Atlas, width: int) -> Text:
        if not atlas.contrasted and atlas.numbers():
            return self._measured(atlas, width)
        p, none = self.palette, self.glyphs.none
        layers = atlas.layers()
        text = Text()
        head = f"{'layer':>5}{'alive':>7}{'context':>9}{'%':>7}{'random':>8}  {'95 %':<13}"
        text.append(head[:width] + "\n", style=p.dim)
        top = max((x.fraction or 0 for x in layers), default=0) or 1
        room = max(width - len(head) - 1, 0)
        for x in layers:
            share = show(x.fraction, "percent", none)
            null = show(x.random_init_fraction, "percent", none)
            ends = none if x.lo is None or x.hi is None else f"{100 * x.lo:.1f} to {100 * x.hi:.1f}"
            text.append(
                f"{x.layer:>5}{show(x.alive, 'count', none):>7}"
                f"{show(x.n_context, 'count', none):>9}{share:>7}"
            )
            text.append(f"{null:>8}  {ends:<13} ", style=p.dim)
            if room > 4:
                text.append(bar((x.fraction or 0) / top, room, self.glyphs), style=p.target)
            text.append("\n")
        alpha = bound(atlas.thresholds.alpha)
        note = (
            f"context: q < {alpha} (BH over all layers); random: % in a randomly initialized model"
        )
        text.append("\n".join(wrap(note, width)), style=p.dim)
        return text

    def _measured(self, atlas: Atlas, width: int) -> Text:
        """Alive features of each layer, and what was measured of them, beside chance if known."""
        p, none, text = self.palette, self.glyphs.none, Text()
        found = {(n.name, n.layer): n for n in atlas.numbers() if n.other_layer is None}
        shares = [name for name in SHARES if any(name == one for one, _ in found)]
        chance = any(n.null is not None for n in found.values() if n.name == ANNOTATED)
        head = f"{'layer':<14}{'alive':>7}{'FVU':>7}"
        head += "".join(f"{name:>{len(name) + 2}}" for name in shares)
        head += f"{'by chance':>11}" if chance else ""
        text.append(head[:width] + "\n", style=p.dim)
        for x in atlas.layers():
            text.append(f"{atlas.layer_names[x.layer]:<14}", style=p.dim)
            text.append(f"{show(x.alive, 'count', none):>7}{show(x.fvu, 'number', none):>7}")
            for name in shares:
                one = found.get((name, x.layer))
                value = show(one.value if one else None, "share", none)
                text.append(f"{value:>{len(name) + 2}}")
            if chance:
                one = found.get((ANNOTATED, x.layer))
                text.append(f"{show(one.null if one else None, 'share', none):>11}", style=p.dim)
            text.append("\n")
        text.rstrip()
        return text

    def _run(self, atlas: Atlas, width: int) -> Text:
        p, words = self.palette, atlas.declared
        text = Text()
        card = {
            "workspace": short_path(self.owner.workspace.root),
            "features": f"{atlas.count():,}",
            **atlas.run(),
            **{name: f"{value:g}" for name, value in atlas.thresholds._asdict().items()},
        }
        further = self.owner.further()
        if further:
            card["more pages"] = "   ".join(f"{key} {name}" for _, key, name, _ in further)
        key_width = max(len(k) for k in card)
        for key, value in card.items():
            text.append(f"{key:<{key_width}}  ", style=p.dim)
            text.append(f"{_cut(str(value), max(width - key_width - 2, 8))}\n")
        text.append(f"{plural(atlas.declared.unit):<{key_width}}  ", style=p.dim)
        x = 0
        for name, values in atlas.units:
            if x and x + len(name) > width - key_width - 2:
                text.append(f"\n{'':<{key_width}}  ")
                x = 0
            text.append(f"{name}  ", style=p.side(values.get(words.condition), words))
            x += len(name) + 2
        text.append(f"\n{'':<{key_width}}  colors: ", style=p.dim)
        for side in (words.reference, words.target):
            text.append(f"{spoken(side)} ", style=p.side(side, words))
        return text

    def action_copy(self) -> None:
        """The claims ledger as text."""
        atlas = self.owner.atlas
        if atlas:
            rows = [f"{c.claim}\t{c.verdict}\t{c.corrected}\t{c.statement}" for c in atlas.claims()]
            self.owner.copy("\n".join(rows))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 1)] + "~"
