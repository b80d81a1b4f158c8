"""Programs that tests compare with, where they are installed."""

from __future__ import annotations

import shutil

import pytest

needs_bedtools = pytest.mark.skipif(
    shutil.which("bedtools") is None, reason="bedtools is not installed: nothing to compare with"
)
