"""Sphinx configuration: Markdown pages, the reference pages generated first. Build: `python -m sphinx -W docs site`."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
ENTRY = re.compile(r"[a-z][a-z/-]+")
sys.path.insert(0, str(HERE))

from generate import write_all  # noqa: E402

from petriscope import __version__  # noqa: E402

project = "Petriscope"
author = "The Petriscope authors"
release = __version__
extensions = ["myst_parser"]
myst_heading_anchors = 3
suppress_warnings = ["toc.not_included"]
exclude_patterns = ["generated/cost.md"]
html_theme = "furo"
html_title = f"Petriscope {release}"
nitpicky = True

write_all()


def setup(app: Sphinx) -> None:
    """Menu entries whose page does not exist are left out: some pages belong to optional parts."""

    def present(_: Sphinx, name: str, source: list[str]) -> None:
        if name == "index":
            lines = source[0].splitlines()
            source[0] = "\n".join(
                line for line in lines if not ENTRY.fullmatch(line) or (HERE / f"{line}.md").is_file()
            )

    app.connect("source-read", present)
