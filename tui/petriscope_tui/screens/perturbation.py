"""The screen Knock-downs shows each perturbed gene, how many features responded, how many of them
are specific, what chance gives, and the responses."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType

from petriscope.atlas.query import Atlas
from petriscope.atlas.records import Perturbation
from petriscope.atlas.show import show
from petriscope_tui.screens.lists import ListPage
from petriscope_tui.widgets.table import Field


class PerturbationPage(ListPage):
    """Perturbed genes and responding features."""

    NAME = "perturbation"
    ABSENT = "no perturbations"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("s", "sort", "Specific first")]

    def __init__(self) -> None:
        super().__init__()
        self.specific_first = False

    def list_things(self, atlas: Atlas) -> None:
        everything = atlas.perturbations()
        self.things = list(everything)
        if self.specific_first:
            self.things.sort(key=lambda t: (-(t.specific or 0), t.p is None, t.p or 0))
        fields = [
            self.words("target", "target", 9),
            self.words("kind", "kind", 20),
            self.number("known", "known", 5, "count"),
            self.number("responding", "respond", 7, "count"),
            self.number("specific", "specific", 8, "count"),
            *(
                self.number(key, head, 8, form)
                for key, head, form in (
                    ("estimate", "score", "number"),
                    ("null", "chance", "number"),
                    ("p", "p", "p"),
                    ("q", "q", "p"),
                )
                if any(getattr(t, key) is not None for t in everything)
            ),
        ]
        self.put("things", self.things, fields, f"{len(self.things)} perturbed genes")
        self.around(lambda width: self._drawn(everything), title="Specific responses")
        if self.things:
            self.chosen(atlas, self.table("things").cursor)

    def _drawn(self, rows: list[Perturbation]) -> Text:
        """Specific factors beside chance."""
        p, text = self.palette, Text()
        judged = [t for t in rows if t.null is not None]
        counted = judged or rows
        hits = sum((t.specific or 0) > 0 for t in counted)
        text.append(f"{hits} of {len(counted)} ", style="bold")
        words = "transcription factors have" if judged else "perturbed genes have"
        text.append(f"{words} a responding feature that lists the gene or a known target\n")
        if judged:
            expected = sum(t.null or 0 for t in judged)
            text.append(f"{show(expected, 'number')} ", style="bold")
            text.append("are expected if random features had responded\n")
        cells = {t.cells for t in rows if t.cells is not None}
        if cells:
            least, most = min(cells), max(cells)
            span = f"{least}" if least == most else f"{least} to {most}"
            text.append(f"{span} perturbed cells each", style=p.dim)
        text.rstrip()
        return text

    def chosen(self, atlas: Atlas, row: int) -> None:
        target = self.things[row]
        self.found = atlas.responses(number=target.number)
        fields = [
            *self.feature_fields(atlas),
            self.number("effect", "effect", 8, "signed"),
            *(
                self.number(key, key, 8, form)
                for key, form in (("p", "p"), ("q", "p"), ("cells", "count"))
                if any(getattr(r, key) is not None for r in self.found)
            ),
            Field("density", "fires on", 9, lambda r: show(r.density, "share"), right=True),
            self.words("label", "label", 12, flex=True),
        ]
        title = f"Responses to {target.target}: {len(self.found)} of {target.responding or 0} known"
        self.put("found", self.found, fields, title)

    def action_sort(self) -> None:
        """Genes with specific responses first."""
        self.specific_first = not self.specific_first
        self.populate()
