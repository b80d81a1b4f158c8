"""Fixtures shared by all tests: the reference material beside the repository, where it exists."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference material (`../shared`): parity fixtures, real genomic data. Skips where it is absent."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("reference material ../shared is not on this machine")
    return folder
