"""Layers of both models lie in one atlas: Geneformer's keep their numbers, scGPT's follow from 100
on."""

from __future__ import annotations

from collections.abc import Mapping

NAMES: Mapping[str, str] = {"geneformer": "Geneformer", "scgpt": "scGPT"}
FIRST_LAYER: Mapping[str, int] = {"geneformer": 0, "scgpt": 100}
"""Number of a model's layer 0 in the atlas."""
