"""Any text either parses to what an independent reader gives, or is refused with its file and line.

The default run tries a few inputs a reader; `pytest -m slow tests/properties` tries
`properties_of.MANY`.
"""

from __future__ import annotations

import pytest
from properties_of import SEED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.write_line(f"properties: seed {SEED} (repeat with PETRISCOPE_SEED={SEED})")
