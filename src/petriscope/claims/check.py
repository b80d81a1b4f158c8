"""How each claim is checked: the command that computes it, what to expect, and how long it took
where it last ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from petriscope.claims.rules import stages_of


class Check(NamedTuple):
    """One claim and how to check it."""

    id: str
    statement: str
    commands: tuple[str, ...]
    """Stages that compute what the claim's texts and rule read, in running order."""
    expected: str
    """Our corrected value and its interval where the ledger was made; `-` before any run."""
    verdict: str
    seconds: float | None
    """Of those stages alone, what they need being there; None where one of them has no record."""
    seconds_from_scratch: float | None
    """With everything upstream."""


def claim_checks(
    rules: Sequence[Mapping[str, Any]],
    ledger: Mapping[str, Mapping[str, str]],
    needs: Mapping[str, Sequence[str]],
    seconds: Mapping[str, float],
) -> list[Check]:
    """One row per entry of claims.yaml.

    Parameters: ``ledger`` — claims.json's entries by id, empty before a run; ``needs`` — each
    stage, in running order, with those it needs; ``seconds`` — by stage, from provenance.
    """

    def total(stages: Sequence[str]) -> float | None:
        return (
            sum(seconds[stage] for stage in stages)
            if all(stage in seconds for stage in stages)
            else None
        )

    checks = []
    for rule in rules:
        asked = stages_of(rule)
        read = tuple(stage for stage in needs if stage in asked)
        above = set(read)
        for stage in reversed(list(needs)):
            if stage in above:
                above |= set(needs[stage])
        needed = [stage for stage in needs if stage in above]
        found = ledger.get(rule["id"], {})
        parts = [found[name] for name in ("corrected", "interval") if found.get(name, "-") != "-"]
        checks.append(
            Check(
                rule["id"],
                rule["statement"],
                tuple(f"petriscope stage {stage}" for stage in read),
                "; ".join(parts) or "-",
                found.get("verdict", "-"),
                total(read),
                total(needed),
            )
        )
    return checks


def as_markdown(checks: Sequence[Check]) -> str:
    """The table: claim, command, expected, time."""
    lines = [
        "| claim | command | expected | verdict | time | from scratch |",
        "|---|---|---|---|---|---|",
    ]
    for check in checks:
        command = "; ".join(f"`{command}`" for command in check.commands)
        cells = (
            f"**{check.id}** {check.statement}",
            command,
            check.expected.replace("|", "/").replace("\n", " "),
            check.verdict,
            duration(check.seconds),
            duration(check.seconds_from_scratch),
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def duration(seconds: float | None) -> str:
    """`42 s`, `3.5 min`, or `-`."""
    if seconds is None:
        return "-"
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"
