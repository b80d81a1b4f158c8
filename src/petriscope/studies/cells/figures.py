"""The paper's figures and tables of study cells: what draws each, and from which files of which
stages. A figure whose stage did not run says so."""

from __future__ import annotations

from petriscope.figures.sources import Drawn
from petriscope.studies.cells.figures_causation import draw_regulation, draw_specificity
from petriscope.studies.cells.figures_knowledge import draw_annotation, draw_celltypes, draw_depth
from petriscope.studies.cells.figures_structure import (
    draw_crossmodel,
    draw_energy,
    draw_highways,
    draw_modules,
    draw_persistence,
)

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
    "table23_matched_features": "crossmodel/matched.csv",
}
DRAWN: dict[str, Drawn] = {
    "fig1_axes": (draw_energy, ("svd/energy.csv", "svd/layers.csv")),
    "fig2_annotation": (draw_annotation, ("annotate/layers.csv",)),
    "fig3_depth": (draw_depth, ("annotate/features.parquet",)),
    "fig4_modules": (
        draw_modules,
        ("modules/edges.parquet", "modules/members.parquet", "modules/graphs.csv"),
    ),
    "fig5_highways": (draw_highways, ("highways/pairs.csv",)),
    "fig6_persistence": (draw_persistence, ("persistence/pairs.csv",)),
    "fig7_likeness": (draw_crossmodel, ("crossmodel/cka.csv",)),
    "fig8_celltypes": (draw_celltypes, ("celltypes/layers.csv",)),
    "fig9_specificity": (draw_specificity, ("causal/features.csv", "causal/nulls.csv")),
    "fig10_regulation": (
        draw_regulation,
        ("perturbation/counts.csv", "perturbation/agreement.csv"),
    ),
}
"""Figure → what draws it, and the files it is given in that order."""
