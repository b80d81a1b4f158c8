"""The screen Feature says who a feature is, whether the evidence holds, where it fires, what it is
like, where to go next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll

from petriscope.atlas.filters import Region
from petriscope.atlas.query import Atlas
from petriscope.atlas.records import Annotation, Feature, Link, Neighbor, TopContext
from petriscope.atlas.schema import Declared, feature_name
from petriscope.atlas.show import interval, show, spoken
from petriscope.enrich.kinds import KINDS, Kind
from petriscope.errors import UserError
from petriscope_tui import evidence
from petriscope_tui.screens.base import Page
from petriscope_tui.widgets.block import Block
from petriscope_tui.widgets.table import Field, ListRows, VirtualTable

GENE_REACH = 100_000
SIMILAR_BY = {"decoder": "decoder", "coactivation": "co-firing"}


TABLED = tuple(kind for kind in KINDS if kind.name != "chromhmm")
"""Kinds of annotation shown as a table of terms; states are drawn in their colors."""
FURTHER = TABLED[2:]
"""Those below motifs and gene sets."""
DRAWN = ("chromhmm", "motif")
"""Kinds whose cards stand side by side."""


class FeaturePage(Page):
    """One feature."""

    NAME = "feature"
    AUTO_FOCUS = "#body"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n,right_square_bracket", "step(1)", "Next"),
        Binding("p,left_square_bracket", "step(-1)", "Previous"),
        Binding("m", "mark", "Mark"),
        Binding("e", "export", "Export"),
        Binding("y", "copy", "Copy id"),
        Binding("Y", "copy_place", "Copy place", show=False),
        Binding("g", "go", "Go to", show=False),
        Binding("G", "graph", "Graph"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.feature: Feature | None = None

    def body(self) -> ComposeResult:
        with VerticalScroll(id="body"):
            with Horizontal(classes="pair"):
                yield Block(id="identity", title="Feature")
                yield Block(id="statistics", title="Contrast")
            yield Block(id="activation", title="Activation")
            with Vertical(id="bins-card", classes="framed"):
                yield VirtualTable(id="bins", empty="no top bins in this atlas")
                yield Block(id="sequence", classes="plain")
            with Horizontal(id="drawn", classes="pair tables"):
                yield Block(id="states", title="Chromatin states")
                yield VirtualTable(id="motifs", empty="no motif was tested")
            with Horizontal(classes="pair tables"):
                yield VirtualTable(id="genesets", empty="no gene set was tested")
                yield VirtualTable(id="neighbors", empty="no similar feature is known")
            for kind in FURTHER:
                yield VirtualTable(id=kind.stage, empty=f"no {kind.one} was tested")
            yield Block(id="own", title="Further numbers")
            with Horizontal(id="lists", classes="pair tables"):
                yield VirtualTable(id="listed", empty="no gene is listed")
                yield VirtualTable(id="links", empty="no link with another layer is known")
            with Horizontal(id="cell-tables", classes="pair tables"):
                yield VirtualTable(id="responses", empty="no response to a perturbation is known")
                yield VirtualTable(id="celltypes", empty="no cell type was tested")
            yield Block(id="dependency", title="Dependency map")
            with Horizontal(id="causal-cards", classes="pair"):
                yield Block(id="ablation", title="Ablation of this feature")
                yield Block(id="steering", title="Steering with this feature")

    def on_mount(self) -> None:
        titles = {
            "bins-card": "",
            **{kind.stage: kind.many.capitalize() for kind in TABLED},
            "neighbors": "Similar features",
            "listed": "Genes",
            "links": "Links with other layers",
            "responses": "Responses to perturbations",
            "celltypes": "Cell types",
        }
        for name, title in titles.items():
            widget = self.query_one(f"#{name}")
            widget.border_title = title
            widget.add_class("framed")
        super().on_mount()

    def resumed(self) -> None:
        if self.feature is None or self.feature.id != self.owner.current_feature:
            self.populate()

    def fill(self, atlas: Atlas) -> None:
        identifier = self.owner.current_feature
        if identifier is None:
            order = (
                atlas.order("is:context confidence>0", "q")
                or atlas.order("is:context", "q")
                or atlas.order()
            )
            if not order:
                return
            identifier = order[0]
        try:
            feature = atlas.feature(identifier)
        except UserError as error:
            self.notify(str(error), severity="error")
            if self.feature is None:
                message = str(error)
                self.query_one("#identity", Block).show(lambda width: Text(message))
            return
        self.owner.current_feature = identifier
        self.feature = feature
        p, g, lineages = self.palette, self.glyphs, atlas.lineages
        words = atlas.declared
        # an atlas of gene lists without a contrast has other cards
        contrasted = atlas.contrasted or "feature_genes" not in atlas.tables
        block = lambda name: self.query_one(f"#{name}", Block)
        block("identity").show(
            lambda width: evidence.identity(
                feature, atlas.thresholds, words, lineages, p, g, width, contrasted
            )
        )
        sides = (spoken(words.target), spoken(words.reference))
        block("statistics").show(
            lambda width: evidence.statistics(feature, words, lineages, p, g, width),
            title="Contrast: {} against {}".format(*sides),
        )
        block("activation").show(
            lambda width: evidence.activation(feature.activation, words, lineages, p, g, width),
            title=f"Activation by {words.unit}",
        )
        block("statistics").display = contrasted
        block("activation").display = contrasted or bool(feature.activation)
        causal = bool(feature.ablation or feature.steering)
        self.query_one("#causal-cards").display = contrasted or causal
        states, colors = atlas.annotations(identifier, "chromhmm", 12), atlas.state_colors()
        alpha = atlas.thresholds.alpha
        block("states").show(lambda width: evidence.states(states, alpha, colors, p, g, width))
        block("ablation").show(
            lambda width: evidence.single(feature, atlas.thresholds.causal, p, g, width)
        )
        block("steering").show(
            lambda width: evidence.curve(feature.steering, "scaling", p, g, width)
        )
        found = atlas.dependency(identifier)
        block("dependency").display = found is not None
        if found is not None:
            block("dependency").show(lambda width: evidence.dependency(found, p, g, width))
        self._bins(feature.contexts, words, lineages)
        for kind in TABLED:
            self._annotations(kind, atlas.annotations(identifier, kind.name, 30))
        for kind in FURTHER:
            self._table(kind.stage).styles.height = self._height(kind.stage)
            self._table(kind.stage).display = kind.name in atlas.kinds
        # without any annotation the cards say so; beside others they would only take room
        self.query_one("#drawn").display = not atlas.kinds or bool(atlas.kinds & set(DRAWN))
        self.query_one("#bins-card").border_title = (
            "Top bins" if words.document == "document" else "Top tokens"
        )
        self._neighbors(feature.neighbors, words, lineages)
        self._lists(atlas, feature)
        self._sequence(0)
        self._fit(("states", "motifs"), [len(states) + 4, self._height("motifs")])
        self._fit(("genesets", "neighbors"), [self._height("genesets"), self._height("neighbors")])
        self._table("bins").styles.height = min(max(len(feature.contexts), 1), 8) + 1

    def _height(self, name: str) -> int:
        return min(max(len(self._table(name).rows), 1), 12) + 3

    def _fit(self, names: tuple[str, str], heights: list[int]) -> None:
        """Neighboring cards are as high as the higher one, where they stand side by side."""
        beside = not self.has_class("-narrow")
        for name, height in zip(names, heights):
            widget = self.query_one(f"#{name}")
            if isinstance(widget, VirtualTable) or beside:
                widget.styles.height = max(heights) if beside else height

    def _table(self, name: str) -> VirtualTable:
        table = self.query_one(f"#{name}", VirtualTable)
        table.edge = self.glyphs.cursor
        return table

    def _bins(self, bins: list[TopContext], words: Declared, lineages: list[str]) -> None:
        p = self.palette
        rows = [
            (
                b.name,
                b.activation,
                (b.unit.name, b.unit.values.get(words.stratum)),
                b.unit.values.get(words.condition),
                b.rank,
            )
            for b in bins
        ]
        fields = [
            Field("place", "place", 27),
            Field("activation", "activation", 10, lambda v: show(v, "number"), right=True),
            Field("unit", words.unit, 18, lambda v: v[0], lambda v: p.stratum(v[1], lineages)),
            Field(
                "condition",
                words.condition,
                9,
                lambda v: spoken(v, self.glyphs.none),
                lambda v: p.side(v, words),
            ),
            Field("rank", "rank", 5, right=True),
        ]
        self._table("bins").show(ListRows(rows), fields)

    def _annotations(self, kind: Kind, rows: list[Annotation]) -> None:
        none, p = self.glyphs.none, self.palette
        fields = [
            Field("term", kind.one, 16, lambda a: a.term, self._weight, flex=True),
            Field(
                "fold",
                kind.numbers[kind.estimate],
                6,
                lambda a: show(a.estimate, "number", none),
                right=True,
            ),
            Field("q", "q", 8, lambda a: show(a.q, "p", none), self._weight, right=True),
        ]
        if any(a.lo is not None for a in rows):
            fields.append(
                Field(
                    "interval",
                    "95 %",
                    14,
                    lambda a: interval(a.lo, a.hi, "number", none),
                    lambda a: p.dim,
                )
            )
        if any(a.specificity is not None for a in rows):
            own = lambda a: (
                f"{show(a.specificity, 'signed', none)} "
                f"{interval(a.specificity_low, a.specificity_high, 'signed', '')}"
            )
            fields.append(
                Field(
                    "specificity",
                    f"own {self.owner.atlas.declared.stratum}, log2",
                    21,
                    own,
                    lambda a: p.dim,
                )
            )
        if any(a.scope for a in rows):
            fields.append(Field("scope", "where", 10, lambda a: a.scope or "all", lambda a: p.dim))
        if any(a.genes for a in rows):
            fields.append(Field("genes", "genes", 40, lambda a: a.genes or "", lambda a: p.dim))
        self._table(kind.stage).show(ListRows([(a,) * len(fields) for a in rows]), fields)

    def _weight(self, one: Annotation) -> str:
        atlas = self.owner.atlas
        passes = atlas is not None and one.q is not None and one.q < atlas.thresholds.alpha
        return "bold" if passes else self.palette.dim

    def _neighbors(
        self, kinds: dict[str, list[Neighbor]], words: Declared, lineages: list[str]
    ) -> None:
        p, none = self.palette, self.glyphs.none
        rows = [
            (n,) * 7 for kind in sorted(kinds, key=lambda k: k != "decoder") for n in kinds[kind]
        ]
        how = {n.id: kind for kind in kinds for n in kinds[kind]}
        fields = [
            Field("id", "feature", 9, lambda n: feature_name(n.id), lambda n: f"bold {p.accent}"),
            Field("value", "value", 6, lambda n: show(n.value, "number"), right=True),
            Field("kind", "by", 9, lambda n: SIMILAR_BY.get(how[n.id], how[n.id]), lambda n: p.dim),
            Field("label", "label", 12, lambda n: n.label or none, flex=True),
            Field("q", "q", 7, lambda n: show(n.q, "p", none), right=True),
            Field(
                "direction",
                words.condition,
                8,
                lambda n: spoken(n.direction, none),
                lambda n: p.side(n.direction, words),
            ),
            Field(
                "stratum",
                words.stratum,
                8,
                lambda n: n.lineage or none,
                lambda n: p.stratum(n.lineage, lineages),
            ),
        ]
        if self.owner.atlas is not None and not self.owner.atlas.contrasted:
            fields = fields[:4]
        self._table("neighbors").show(ListRows(rows), fields)

    def _lists(self, atlas: Atlas, feature: Feature) -> None:
        """What the atlas holds of genes, links, perturbations, cell types; cards that it has no
        table for take no room."""
        p, none, held = self.palette, self.glyphs.none, atlas.tables
        own = [c for c in atlas.declared.features if feature.values.get(c.name) is not None]
        block = self.query_one("#own", Block)
        block.display = bool(own) and "feature_genes" in held
        block.show(lambda width: evidence.own(feature, own, p))
        if "feature_genes" in held:
            self.query_one("#bins-card").display = bool(feature.contexts)
        self.query_one("#lists").display = bool(held & {"feature_genes", "links"})
        self.query_one("#cell-tables").display = bool(held & {"responses", "celltypes"})

        def field(key: str, head: str, width: int, form: str, flex: bool = False) -> Field:
            text = form == "text"
            read = lambda x: show(getattr(x, key), form, none)
            return Field(key, head, width, read, right=not text, flex=flex)

        def other(link: Link) -> str:
            return feature_name(link.other if link.id == feature.id else link.id)

        def far_label(link: Link) -> str:
            return (link.other_label if link.id == feature.id else link.label) or none

        tables: dict[str, tuple[Sequence[Any], list[Field]]] = {
            "listed": (
                atlas.listed(feature.id),
                [
                    field("gene", "gene", 12, "text", flex=True),
                    field("value", "value", 7, "number"),
                    field("fires", "fires", 7, "count"),
                    field("tokens", "tokens", 7, "count"),
                ],
            ),
            "links": (
                atlas.links(feature.id),
                [
                    Field("other", "feature", 10, other, lambda k: f"bold {p.accent}"),
                    field("kind", "by", 4, "text"),
                    field("value", "value", 7, "number"),
                    field("p", "p", 7, "p"),
                    Field("label", "label", 12, far_label, flex=True),
                ],
            ),
            "responses": (
                atlas.responses(identifier=feature.id),
                [
                    field("target", "target", 10, "text", flex=True),
                    field("effect", "effect", 8, "signed"),
                    field("q", "q", 7, "p"),
                    field("cells", "cells", 6, "count"),
                ],
            ),
            "celltypes": (
                atlas.celltypes(feature.id),
                [
                    field("cell_type", "cell type", 14, "text", flex=True),
                    field("effect", "effect", 8, "signed"),
                    field("q", "q", 7, "p"),
                    field("donors", "donors", 6, "count"),
                ],
            ),
        }
        for name, (rows, fields) in tables.items():
            if name == "listed":  # of some layers a release has the names alone
                fields = [f for f in fields if f.flex or any(f.text(x) != none for x in rows)]
            self._table(name).show(ListRows([(row,) * len(fields) for row in rows]), fields)
        for pair in (("listed", "links"), ("responses", "celltypes")):
            self._fit(pair, [self._height(name) for name in pair])

    def _sequence(self, row: int) -> None:
        atlas, block = self.owner.atlas, self.query_one("#sequence", Block)
        if atlas is None or self.feature is None or row >= len(self.feature.contexts):
            block.show(lambda width: Text(""))
            return
        one = self.feature.contexts[row]
        hits, genes = None, []
        if one.chrom is not None:
            place = Region(one.chrom, one.start, one.end)
            hits = atlas.motif_hits(place) if atlas.has_motif_hits else None
            genes = atlas.genes(
                Region(one.chrom, max(one.start - GENE_REACH, 0), one.end + GENE_REACH)
            )
        p, g = self.palette, self.glyphs
        block.show(lambda width: evidence.sequence(one, hits, genes, p, g, width))

    # Messages and actions
    # --------------------------------------------------------------------------------------

    def on_virtual_table_highlighted(self, message: VirtualTable.Highlighted) -> None:
        if message.table.id == "bins":
            self._sequence(message.row)

    def on_virtual_table_selected(self, message: VirtualTable.Selected) -> None:
        row = message.table.row(message.row)
        if row is None:
            return
        if message.table.id == "neighbors":
            self.owner.open_feature(row[0].id)
        elif (
            message.table.id == "bins"
            and self.feature is not None
            and self.feature.contexts[message.row].chrom is not None
        ):
            self.owner.open_filter(f"region:{row[0]}")
        elif message.table.id == "links" and self.feature is not None:
            link = row[0]
            self.owner.open_feature(link.other if link.id == self.feature.id else link.id)
        elif message.table.id == "listed":
            self.owner.open_filter(f"gene:{row[0].gene}")
        for kind in TABLED:
            if message.table.id == kind.stage:
                self.owner.open_filter(f'{kind.filters[0]}:"{row[0].term}"')

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Graph is offered where the atlas has one."""
        atlas = self.owner.atlas
        return action != "graph" or (atlas is not None and atlas.has_graph)

    def action_graph(self) -> None:
        """The graph around this feature."""
        self.owner.action_visit("graph")

    def action_step(self, step: int) -> None:
        """The next or previous feature in the order of the Features page."""
        atlas = self.owner.atlas
        if atlas is None or self.feature is None:
            return
        order = next(
            (page.order for page in self.owner.pages() if page.NAME == "features" and page.order),
            None,
        )  # type: ignore[attr-defined]
        order = order if order is not None and self.feature.id in order else atlas.order()
        place = order.index(self.feature.id) + step
        if 0 <= place < len(order):
            self.owner.open_feature(order[place])

    def action_mark(self) -> None:
        """Mark for comparison."""
        if self.feature:
            self.owner.mark(self.feature.id)

    def action_go(self) -> None:
        """Type a feature's name."""
        from petriscope.atlas.schema import parse_feature
        from petriscope_tui.screens.dialogs import PromptDialog

        def jump(text: str | None) -> None:
            identifier = parse_feature(text) if text else None
            if identifier is not None:
                self.owner.open_feature(identifier)
            elif text:
                self.notify(f"{text!r} is no feature: write L6/1234", severity="warning")

        self.app.push_screen(PromptDialog("Go to feature", "L"), jump)

    def action_copy(self) -> None:
        """Copy the identifier."""
        if self.feature:
            self.owner.copy(feature_name(self.feature.id))

    def action_copy_place(self) -> None:
        """Copy the coordinates of the bin under the cursor."""
        row = self._table("bins").row(self._table("bins").cursor)
        if row:
            self.owner.copy(str(row[0]))

    def action_export(self) -> None:
        """Write this feature's bins and activation."""
        from petriscope_tui.screens.dialogs import ChoiceDialog

        if self.feature is None:
            return
        stem = feature_name(self.feature.id).replace("/", "_")
        choices = [
            ("bed", f"{stem}.bed        its top bins (BED6)"),
            ("bedgraph", f"{stem}.bedgraph   its activation per bin"),
            ("csv", f"{stem}.csv        its row of the features table"),
        ]
        self.app.push_screen(ChoiceDialog("Export this feature", choices), self._export)

    def _export(self, kind: str | None) -> None:
        atlas = self.owner.atlas
        if not kind or atlas is None or self.feature is None:
            return
        from petriscope_tui.delimited import WRITERS, unused

        stem = feature_name(self.feature.id).replace("/", "_")
        path = unused(self.owner.workspace.root / f"{stem}.{kind}")
        try:
            count = WRITERS[kind](path, atlas, [self.feature.id])
        except (OSError, UserError) as error:
            self.notify(f"cannot write {path}: {error}", severity="error")
        else:
            self.notify(f"wrote {count:,} lines to {path}")
