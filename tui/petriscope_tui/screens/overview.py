"""Overview: what was run, what the claims came to, how many context features each layer has."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll

from petriscope.atlas.query import Atlas
from petriscope.atlas.records import Claim
from petriscope_tui.form import interval, show
from petriscope_tui.plots import Series, bar, line_plot
from petriscope_tui.screens.base import Page
from petriscope_tui.widgets.block import Block

VERDICTS = {"supported": "supported", "not_supported": "not supported"}


class OverviewPage(Page):
    """The first page."""

    NAME = "overview"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "app.visit('features')", "Features"),
        Binding("p", "app.visit('pipeline')", "Pipeline"),
        Binding("slash", "app.visit('search')", "Search"),
        Binding("y", "copy", "Copy summary"),
    ]

    def body(self) -> ComposeResult:
        with VerticalScroll(id="body"):
            yield Block(id="claims", title="Claims")
            with Horizontal(classes="pair"):
                yield Block(id="counts", title="Context features by layer")
                yield Block(id="layers", title="Layers")
            yield Block(id="run", title="Run")

    def fill(self, atlas: Atlas) -> None:
        self.query_one("#claims", Block).show(lambda width: self._claims(atlas.claims(), width))
        self.query_one("#counts", Block).show(lambda width: self._counts(atlas, width))
        self.query_one("#layers", Block).show(lambda width: self._layers(atlas, width))
        self.query_one("#run", Block).show(lambda width: self._run(atlas, width))

    def _sign(self, verdict: str | None) -> str:
        g = self.glyphs
        return {"supported": g.yes, "not_supported": g.no}.get(verdict or "", g.unsure)

    def _claims(self, claims: list[Claim], width: int) -> Text:
        p, none = self.palette, self.glyphs.none
        if not claims:
            return Text("no claims were evaluated in this run (stage claims)", style=p.dim)
        wide = width >= 96
        text = Text()
        first = max((len(c.statement) for c in claims), default=10)
        left = min(first, max(width - (62 if wide else 44), 16))
        head = f"  {'':{left}}  {'published':>15}  {'our, as run':>15}  {'corrected':>15}" if wide else f"  {'':{left}}"
        if wide:
            text.append(head + "  verdict\n", style=p.dim)
        tally: dict[str, int] = {}
        for claim in claims:
            colour = p.verdict(claim.verdict)
            word = VERDICTS.get(claim.verdict or "", "undecided")
            tally[word] = tally.get(word, 0) + 1
            text.append(f"{self._sign(claim.verdict)} ", style=f"bold {colour}")
            text.append(f"{_cut(claim.statement, left):{left}}  ")
            if wide:
                text.append(f"{_cut(claim.published or none, 15):>15}  ", style=p.dim)
                text.append(f"{_cut(claim.as_published or none, 15):>15}  ", style=p.dim)
                text.append(f"{_cut(claim.corrected or none, 15):>15}  ", style="bold")
            text.append(f"{word:14}", style=colour)
            text.append("\n")
            ends = interval(claim.lo, claim.hi, none="")
            if not wide:
                text.append(
                    f"    published {claim.published or none}   corrected {claim.corrected or none}", style=p.dim
                )
                text.append(f"  {ends}\n" if ends else "\n", style=p.dim)
            elif ends:
                place = 2 + left + 2 + 17 + 17
                text.append(f"{'':{place}}{ends:>15}\n", style=p.dim)
        text.append("  " + "   ".join(f"{n} {word}" for word, n in sorted(tally.items())), style=p.dim)
        return text

    def _counts(self, atlas: Atlas, width: int) -> Text:
        p = self.palette
        layers = [x for x in atlas.layers() if x.fraction is not None]
        real = Series(
            "trained: share of alive features with q < .05",
            [(x.layer, 100 * (x.fraction or 0)) for x in layers],
            p.in_vivo,
            "o",
            [(100 * x.lo, 100 * x.hi) if x.lo is not None and x.hi is not None else None for x in layers],
        )
        null = [x for x in layers if x.random_init_fraction is not None]
        random = Series(
            "randomly initialised model (null)",
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

    def _layers(self, atlas: Atlas, width: int) -> Text:
        p, none = self.palette, self.glyphs.none
        layers = atlas.layers()
        text = Text()
        head = f"{'layer':>5} {'alive':>8} {'context':>8} {'%':>7}  {'95 %':<15} {'null':>7}"
        text.append(head[:width] + "\n", style=p.dim)
        top = max((x.fraction or 0 for x in layers), default=0) or 1
        room = max(width - len(head) - 1, 0)
        for x in layers:
            share = show(x.fraction, "share", none).removesuffix(" %")
            null = show(x.random_init_fraction, "share", none).removesuffix(" %")
            ends = none if x.lo is None or x.hi is None else f"[{100 * x.lo:.1f}, {100 * x.hi:.1f}]"
            text.append(
                f"{x.layer:>5} {show(x.alive, 'count', none):>8} {show(x.n_context, 'count', none):>8} {share:>7}  "
            )
            text.append(f"{ends:<15} {null:>7} ", style=p.dim)
            if room > 4:
                text.append(bar((x.fraction or 0) / top, room, self.glyphs), style=p.in_vivo)
            text.append("\n")
        text.append("context: q < .05 (BH over all layers)", style=p.dim)
        return text

    def _run(self, atlas: Atlas, width: int) -> Text:
        p = self.palette
        text = Text()
        card = {"workspace": str(self.owner.workspace.root), "features": f"{atlas.count():,}", **atlas.run()}
        key_width = max(len(k) for k in card)
        for key, value in card.items():
            text.append(f"{key:<{key_width}}  ", style=p.dim)
            text.append(f"{_cut(str(value), max(width - key_width - 2, 8))}\n")
        text.append(f"{'biosamples':<{key_width}}  ", style=p.dim)
        x = 0
        for name, _, context, _ in atlas.biosamples():
            if x and x + len(name) > width - key_width - 2:
                text.append(f"\n{'':<{key_width}}  ")
                x = 0
            text.append(f"{name}  ", style=p.context(context))
            x += len(name) + 2
        text.append(f"\n{'':<{key_width}}  colours: ", style=p.dim)
        text.append("in vitro ", style=p.in_vitro)
        text.append("in vivo", style=p.in_vivo)
        return text

    def action_copy(self) -> None:
        """The claims ledger as text."""
        atlas = self.owner.atlas
        if atlas:
            rows = [f"{c.claim}\t{c.verdict}\t{c.corrected}\t{c.statement}" for c in atlas.claims()]
            self.owner.copy("\n".join(rows))


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 1)] + "~"
