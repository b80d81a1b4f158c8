"""The screen Genes finds the features whose lists hold a gene: in which layers, how high, and on
how many tokens of the gene they fire."""

from __future__ import annotations

from typing import NamedTuple

from rich.text import Text

from petriscope.atlas.query import Atlas
from petriscope.atlas.records import Listed, ListedGene
from petriscope.atlas.show import show
from petriscope_tui.plots import spark
from petriscope_tui.screens.lists import ListPage

BANDS = ((1, 1), (2, 3), (4, 5), (6, 10), (11, 20))
"""Ranks drawn together."""


class Gene(NamedTuple):
    """A gene that some feature lists."""

    name: str
    features: int


class Row(NamedTuple):
    """A feature that lists the gene."""

    id: int
    rank: int
    value: float | None
    fires: int | None
    tokens: int | None
    module: int | None
    label: str | None


class GenesPage(ListPage):
    """A line to type in, genes, the features that list one."""

    NAME = "genes"
    AUTO_FOCUS = "#needle"
    ABSENT = "no gene lists"
    TYPED = "a gene symbol, or part of one: CDK1"

    def list_things(self, atlas: Atlas) -> None:
        text = self.query_one("#needle").value  # type: ignore[attr-defined]
        self.things = [Gene(name, n) for _, name, n in atlas.named(["gene"], text, 200)]
        # the gene itself before those that only contain its name
        self.things.sort(key=lambda gene: gene.name.casefold() != text.casefold())
        fields = [
            self.words("name", "gene", 14, flex=True),
            self.number("features", "lists", 7, "count"),
        ]
        self.put("things", self.things, fields, "Genes")
        if self.things:
            self.chosen(atlas, self.table("things").cursor)
        else:
            self.found = []
            self.put("found", [], self.feature_fields(atlas), "Features")

    def chosen(self, atlas: Atlas, row: int) -> None:
        gene = self.things[row]
        lists = atlas.listing(gene.name)
        self.found = [
            Row(one.id, one.rank, one.value, one.fires, one.tokens, *values)
            for one, values in zip(lists, _values(atlas, lists))
        ]
        fields = [
            *self.feature_fields(atlas),
            self.number("rank", "rank", 4, "count"),
            self.number("value", "mean act", 8, "number"),
            self.number("fires", "fires", 6, "count"),
            self.number("module", "module", 6, "count"),
            self.words("label", "label", 12, flex=True),
        ]
        more = "" if len(lists) == gene.features else f", {len(lists)} shown"
        self.put("found", self.found, fields, f"{gene.features} features list {gene.name}{more}")
        ranks = atlas.ranks(gene.name)
        self.around(
            lambda width: self._drawn(atlas, ranks, width), f"{gene.name} by layer and rank"
        )

    def _drawn(self, atlas: Atlas, ranks: list[Listed], width: int) -> Text:
        """Number of features of each layer that list the gene, by rank in their lists."""
        p, text = self.palette, Text()
        layers = list(atlas.layer_names)
        for low, high in BANDS:
            counts = dict.fromkeys(layers, 0)
            for one in ranks:
                if low <= one.rank <= high:
                    counts[one.layer] += one.features
            total = sum(counts.values())
            name = f"rank {low}" if low == high else f"rank {low}-{high}"
            text.append(f"{name:<12}", style=p.dim)
            text.append(spark(list(counts.values()), self.glyphs, log=False), style=p.accent)
            text.append(f" {show(total, 'count')}\n")
        first, last = (atlas.layer_names[layer] for layer in (layers[0], layers[-1]))
        text.append(f"{'':<12}layers {first} to {last}; ", style=p.dim)
        text.append("a gene ranks by its mean where the feature fires: once is enough", style=p.dim)
        return text

    def query_of(self, row: int) -> str | None:
        return f"gene:{self.things[row].name}"


def _values(atlas: Atlas, lists: list[ListedGene]) -> list[tuple[int | None, str | None]]:
    """Module and label of each."""
    return [(row[0], row[1]) for row in atlas.rows([one.id for one in lists], ["module", "label"])]
