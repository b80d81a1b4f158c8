"""The image on a real engine: tests/container/check.py as one test (`pytest -m container`, root on
Debian, minutes)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

NO_ENGINE = 77


@pytest.mark.container
def test_the_image_keeps_its_promises():
    script = Path(__file__).with_name("check.py")
    result = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    if result.returncode == NO_ENGINE:
        pytest.skip(result.stdout.strip().splitlines()[-1])
    assert result.returncode == 0, result.stdout + result.stderr[-2000:]
