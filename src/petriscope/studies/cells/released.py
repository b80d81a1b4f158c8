"""The comparative atlas as its authors released it (Biodyn-AI geneformer-atlas 733a9a14 and
scgpt-atlas 304481af, made compact), read file by file; a file that is not there is said to be."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from petriscope.errors import UserError
from petriscope.run.released import UNCHANGED, read_released
from petriscope.studies.cells.params import FAMILIES
from petriscope.textfile import text_lines

FEATURE_NUMBERS = (
    *("layer", "feature", "dead", "freq", "mean_act", "fires", "n_annotations", "module"),
    "svd_aligned",
)
FEATURE_WORDS = ("ontology", "label", "top5_genes")
CELLTYPE_NUMBERS = ("layer", "features_listed", "with_cell_type", "with_tissue", "n_cell_types")
PARTS = (
    *("features.tsv.gz", "celltypes_summary.tsv", "global_summary.json.gz", "modules.json.gz"),
    *("cross_layer_graph.json.gz", "causal_patching.json.gz"),
)
"""Released for both families."""
ALONE = (
    *("cross_layer_tracking.json.gz", "novel_clusters.json.gz", "perturbation_response.json.gz"),
    "svd_comparison.json.gz",
)
"""Released for Geneformer alone."""
LISTED = {"geneformer": (5, 17), "scgpt": (0, 11)}
"""Layers whose full annotations are small enough to be passed on."""
FILES = (
    *(f"{family}_{part}" for family in FAMILIES for part in PARTS),
    *(f"geneformer_{part}" for part in ALONE),
    *(
        f"{family}_L{layer:02d}_annotations.tsv.gz"
        for family in FAMILIES
        for layer in LISTED[family]
    ),
)
"""All that is read, by which a folder is known."""
GENE = "gene"
"""Kind of the rows of an annotation file that list a feature's genes."""
EDGES = ("STRING_edges", "TRRUST_edges")
"""Kinds that say of a feature that some pair of its genes is an edge."""
_ANNOTATIONS = re.compile(r"(\w+)_L(\d+)_annotations\.tsv\.gz")


class Released:
    """One folder of released files; each is read once, when first asked for."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.features = cache(self._features)
        self.annotations = cache(self._annotations)
        self.json = cache(self._json)

    def has(self, name: str) -> bool:
        """Whether the file is there."""
        return (self.folder / name).is_file()

    def annotated_layers(self, family: str) -> list[int]:
        """Layers whose full annotations are there."""
        found = (_ANNOTATIONS.fullmatch(path.name) for path in sorted(self.folder.iterdir()))
        return [int(match[2]) for match in found if match is not None and match[1] == family]

    def _features(self, family: str) -> pd.DataFrame:
        """A row per feature: integers layer, feature, dead, fires, n_annotations, module (-1:
        none), svd_aligned; freq (share of the positions), mean_act; text ontology, label,
        top5_genes (separated by semicolons), empty where there is none."""
        path = self.folder / f"{family}_features.tsv.gz"
        frame = read_released(path, FEATURE_NUMBERS, FEATURE_WORDS, gaps=FEATURE_WORDS)
        whole = [name for name in FEATURE_NUMBERS if name not in ("freq", "mean_act")]
        return frame.astype(dict.fromkeys(whole, "int64"))

    def _annotations(self, family: str, layer: int) -> pd.DataFrame:
        """All that was found about the annotated features of a layer: feature, kind, name, value,
        count, extra. A row of kind gene holds mean activation and fires of one of the top 20
        genes; any other adjusted p, overlap and odds ratio."""
        path = self.folder / annotations_file(family, layer)
        words = ("kind", "name", "extra")
        frame = read_released(path, ("feature", "value", "count"), words, gaps=("extra",))
        frame["extra"] = pd.to_numeric(frame.extra, errors="coerce")  # may be infinite
        return frame.astype({"feature": "int64", "count": "int64"})

    def celltypes(self, family: str) -> pd.DataFrame:
        """A row per layer: features listed, and how many of them have a cell type or tissue."""
        path = self.folder / f"{family}_celltypes_summary.tsv"
        return read_released(path, CELLTYPE_NUMBERS).astype("int64", errors="ignore")

    def _json(self, name: str) -> Any:
        """The value in a JSON file. Raises `UserError` where it is damaged."""
        path = self.folder / name
        try:
            return json.loads("\n".join(text_lines(path)))
        except json.JSONDecodeError as error:
            raise UserError(f"is no JSON ({error})", file=path, remedy=UNCHANGED) from None

    def entry(self, name: str, *keys: str | int) -> Any:
        """What lies at ``keys`` in a JSON file. Raises `UserError` where nothing does."""
        found = self.json(name)
        for key in keys:
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError):
                where = ".".join(map(str, keys))
                raise UserError(
                    f"lacks {where}", file=self.folder / name, remedy=UNCHANGED
                ) from None
        return found

    def number(self, name: str, *keys: str | int) -> float:
        """The number at ``keys``. Raises `UserError` where there is none."""
        found = self.entry(name, *keys)
        if isinstance(found, bool) or not isinstance(found, (int, float)):
            where = ".".join(map(str, keys))
            what = f"{found!r} is no number"
            raise UserError(what, file=self.folder / name, field=where, remedy=UNCHANGED)
        return float(found)

    def table(
        self, name: str, keys: tuple[str | int, ...], fields: tuple[str, ...]
    ) -> pd.DataFrame:
        """These fields of every row of the list at ``keys``."""
        rows = self.entry(name, *keys)
        cells = [[self.entry(name, *keys, i, field) for field in fields] for i in range(len(rows))]
        return pd.DataFrame(cells, columns=list(fields))


def annotations_file(family: str, layer: int) -> str:
    """Name of the file with the full annotations of a layer."""
    return f"{family}_L{layer:02d}_annotations.tsv.gz"


def beside(folder: Path, name: str) -> Path | None:
    """A file of the data that lies in the folder, or one above it."""
    return next((path for path in (folder / name, folder.parent / name) if path.is_file()), None)
