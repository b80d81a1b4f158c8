"""Sphinx configuration: Markdown pages, the reference pages generated first. Build: `python -m
sphinx -W docs site`."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from generate import write_all  # noqa: E402

from petriscope import __version__  # noqa: E402

project = "Petriscope"
author = "The Petriscope authors"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "numpydoc"]
autodoc_typehints = "none"
autodoc_member_order = "bysource"
numpydoc_class_members_toctree = False
numpydoc_show_class_members = False
myst_heading_anchors = 3
exclude_patterns = ["generated/cost.md"]
html_theme = "furo"
html_title = f"Petriscope {release}"
nitpicky = True

write_all()
