"""Reference: `petriscope.atlas.show`, the printing of the terminal UI. The page's printing is
bundled and run in node."""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from petriscope.atlas.show import show

WEB = Path(__file__).resolve().parents[2] / "web"
ESBUILD = WEB / "node_modules" / ".bin" / "esbuild"
FORMS = ("count", "number", "signed", "p", "share", "percent", "flag", "text", "id")
HUGE = 1e300
"""Times 100, a finite number."""
EACH = 2_500
"""Values of each kind, of eight kinds."""


def _values(seed: int) -> list[float]:
    """Ties in binary and in decimals, beside powers of ten, small and huge, of both signs."""
    draw = random.Random(seed)
    many = range(EACH)
    size = [draw.uniform(1, 10) * 10.0 ** draw.randint(-12, 12) for _ in many]
    binary = [draw.randrange(1, 4000) * 2.0 ** -draw.randint(0, 12) for _ in many]
    per_cent = [value / 100 for value in binary]
    decimal = [float(f"{draw.randrange(1, 10**5)}5e{draw.randint(-12, 8)}") for _ in many]
    large = [float(draw.randrange(1, 1000) * 5 * 10 ** draw.randint(0, 14)) for _ in many]
    beside = [_beside(10.0 ** draw.randint(-6, 22), draw.randint(-3, 3)) for _ in many]
    tiny = [draw.randrange(1, 10**6) * 5e-324 for _ in many]
    huge = [draw.uniform(1, 10) * 10.0 ** draw.randint(15, 299) for _ in many]
    values = [*size, *binary, *per_cent, *decimal, *large, *beside, *tiny, *huge]
    edges = [0.0, 0.5, 1.5, 2.5, 0.125, 0.375, 1e21, 1e22, 2.0**53, 9.5e300, HUGE, 1e-300]
    return [x for value in [*values, *edges] for x in (value, -value)]


def _beside(value: float, steps: int) -> float:
    for _ in range(abs(steps)):
        value = math.nextafter(value, math.copysign(math.inf, steps))
    return value


def _printed(asked: list[dict[str, object]], folder: Path) -> list[list[str]]:
    """What the page prints."""
    if shutil.which("node") is None or not ESBUILD.exists():
        pytest.skip("node, or the page's packages, are not on this machine (npm ci in web/)")
    bundle, question, answers = (folder / n for n in ("show.mjs", "asked.json", "answers.json"))
    question.write_text(json.dumps(asked), encoding="utf-8")
    build = [str(ESBUILD), "test/show.ts", "--bundle", "--format=esm", f"--outfile={bundle}"]
    subprocess.run([*build, "--log-level=error"], check=True, cwd=WEB)
    run = ["node", WEB / "test" / "run.mjs", bundle, folder, question, answers]
    subprocess.run(run, check=True)
    found: list[list[str]] = json.loads(answers.read_text(encoding="utf-8"))
    return found


def test_the_page_prints_the_digits_of_the_terminal(tmp_path: Path) -> None:
    values = _values(5)
    assert len(values) >= 20_000
    # The page does not tell 1 from 1.0, so words and names are of whole numbers.
    whole = [int(value) for value in values if abs(value) < 1e15]
    of = {form: whole if form in ("text", "id") else [*values, None] for form in FORMS}
    asked = [{"form": form, "narrow": False, "values": of[form]} for form in FORMS]
    for form, found in zip(FORMS, _printed(asked, tmp_path)):
        wrong = [
            (value, text, show(value, form))
            for value, text in zip(of[form], found, strict=True)
            if text != show(value, form)
        ]
        assert not wrong, (form, len(wrong), wrong[:5])


def test_columns_of_float32_print_the_decimal_that_was_stored(tmp_path: Path) -> None:
    draw = random.Random(6)
    values = [
        float(f"{draw.choice('+-')}{draw.randrange(1, 10**6)}e{draw.randint(-15, 4)}")
        for _ in range(20_000)
    ]
    # Some of these are not what a float32 widened to 64 bits would print.
    assert any(show(float(np.float32(v)), "number") != show(v, "number") for v in values)
    asked = [{"form": form, "narrow": True, "values": values} for form in FORMS[1:6]]
    for form, found in zip(FORMS[1:6], _printed(asked, tmp_path)):
        assert found == [show(value, form) for value in values], form
