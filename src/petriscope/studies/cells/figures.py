"""The paper's figures and tables of study cells: what draws each, and from which files of which
stages. A figure whose stage did not run says so."""

from __future__ import annotations

from petriscope.figures.sources import Drawn
from petriscope.studies.cells.figures_causation import draw_regulation, draw_specificity
from petriscope.studies.cells.figures_knowledge import draw_annotation, draw_celltypes, draw_depth

TABLES = {
    "table1_encodings": "cells/encodings.csv",
    "table2_sae_quality": "sae/quality.csv",
    "table3_sae_quality_second": "second/sae/quality.csv",
    "table4_axes": "svd/layers.csv",
    "table5_catalog": "catalog/layers.csv",
    "table6_annotation": "annotate/layers.csv",
    "table7_novel": "novel/layers.csv",
    "table8_modules": "modules/graphs.csv",
    "table9_highways": "highways/pairs.csv",
    "table10_persistence": "persistence/pairs.csv",
    "table11_likeness": "crossmodel/cka.csv",
    "table12_celltypes": "celltypes/layers.csv",
    "table13_specificity": "causal/features.csv",
    "table14_specificity_nulls": "causal/nulls.csv",
    "table15_regulation": "perturbation/counts.csv",
    "table16_regulons": "perturbation/regulons.csv",
    "table17_knockdowns": "perturbation/knockdowns.csv",
    "table18_agreement": "perturbation/agreement.csv",
    "table19_power": "perturbation/power.csv",
    "table20_ceiling": "perturbation/ceiling.csv",
    "table21_tissues": "tissue/tfs.csv",
    "table22_multiplicity": "claims/ledger.csv",
}
DRAWN: dict[str, Drawn] = {
    "fig1_annotation": (draw_annotation, ("annotate/layers.csv",)),
    "fig2_depth": (draw_depth, ("annotate/features.parquet",)),
    "fig6_celltypes": (draw_celltypes, ("celltypes/layers.csv",)),
    "fig7_specificity": (draw_specificity, ("causal/features.csv", "causal/nulls.csv")),
    "fig8_regulation": (draw_regulation, ("perturbation/counts.csv", "perturbation/agreement.csv")),
}
"""Figure → what draws it, and the files it is given in that order."""
