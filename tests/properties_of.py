"""Make of a check of one input two tests: a quick one, and one of thousands of inputs.

The seed is printed at the end of the run; `PETRISCOPE_SEED=N pytest tests/properties` repeats it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest

FEW, MANY = 40, 2000
SEED = int(os.environ.get("PETRISCOPE_SEED", secrets.randbelow(2**32)))


def reads(*strategies: Any) -> Callable[[Callable[..., None]], Any]:
    """Turn a check of one input into two tests: a quick one, and a slow one of `MANY` inputs.

    ::

        @reads(bed_text())
        def bed(text: str) -> None:
            ...

        test_bed, test_bed_at_length = bed
    """

    def both(check: Callable[..., None]) -> tuple[Any, Any]:
        def made(examples: int) -> Any:
            wrapped = hypothesis.given(*strategies)(check)
            settings = hypothesis.settings(
                max_examples=examples,
                deadline=None,
                database=None,
                print_blob=True,
                suppress_health_check=list(hypothesis.HealthCheck),
            )
            return hypothesis.seed(SEED)(settings(wrapped))

        return made(FEW), pytest.mark.slow(made(MANY))

    return both
