"""A chain of provenance as a tree for people, or as plain values for programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from petriscope.run.chain import Chain, Source, Step

MARKS = {
    "as recorded": "",
    "changed": "  CHANGED",
    "missing": "  MISSING",
    "stale": "  STALE",
    "not recorded": "  ?",
}


def as_tree(chain: Chain) -> str:
    """The chain as an indented tree; each stage's run is printed once, later it says `above`."""
    lines = [chain.title]
    printed: set[str] = set()
    for i, source in enumerate(chain.files):
        # several files of one stage (PNG and PDF): the run is shown under the last
        last = i == len(chain.files) - 1
        follow = last or chain.files[i + 1].maker != source.maker
        _source(source, chain, lines, "", last, printed, follow)
    problems = chain.problems()
    if problems:
        lines += ["", f"{len(problems)} not as recorded:"]
        lines += [f"  {p.path}: {p.state}{f' ({p.detail})' if p.detail else ''}" for p in problems]
    else:
        lines += [
            "",
            f"every file is as recorded, over {len(chain.steps)} stages back to raw inputs",
        ]
    return "\n".join(lines)


def _source(
    source: Source,
    chain: Chain,
    lines: list[str],
    lead: str,
    last: bool,
    printed: set[str],
    follow: bool = True,
) -> None:
    digest = source.sha256[:12] if source.sha256 else "-"
    lines.append(
        f"{lead}{'└─ ' if last else '├─ '}{source.path}  sha256 {digest}{MARKS[source.state]}"
    )
    lead += "   " if last else "│  "
    if source.origin:
        lines.append(f"{lead}{source.origin}")
    if source.maker is None or not follow:
        return
    if source.maker in printed:
        lines.append(f"{lead}└─ stage {source.maker} (above)")
        return
    printed.add(source.maker)
    _step(chain.steps[source.maker], chain, lines, lead, printed)


def _step(step: Step, chain: Chain, lines: list[str], lead: str, printed: set[str]) -> None:
    record = step.record
    lines.append(f"{lead}└─ stage {step.stage}: {_cost(record)}")
    lead += "   "
    bar = "│  " if step.reads else "   "
    if used := record.get("params_used"):
        lines.append(
            f"{lead}{bar}params  "
            f"{', '.join(f'{key} = {_short(value)}' for key, value in used.items())}"
        )
    code = [read for read in step.reads if read.kind == "code"]
    if code:
        named = ", ".join(
            f"{read.path} {(read.sha256 or '-')[:8]}{MARKS[read.state]}" for read in code
        )
        lines.append(f"{lead}{bar}code    {named}")
    rest = [read for read in step.reads if read.kind != "code"]
    for i, read in enumerate(rest):
        _source(read, chain, lines, lead, i == len(rest) - 1, printed)


def _cost(record: Mapping[str, Any]) -> str:
    if not record:
        return "no record (run it again)"
    memory = f"{record['peak_memory_bytes'] / 1e9:.1f} GB"
    return (
        f"`{record['command']}`, {record['seconds']:g} s, {memory}, {record['device']}, revision "
        f"{record['revision']}, "
        f"source {record['source'][:10]}"
    )


def _short(value: Any) -> str:
    """A parameter's value; a section in braces."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_short(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_short(item) for item in value) + "]"
    return "null" if value is None else str(value)


def as_values(chain: Chain) -> dict[str, Any]:
    """The chain as plain values (JSON)."""
    return {
        "target": chain.target,
        "title": chain.title,
        "files": [dataclasses.asdict(source) for source in chain.files],
        "steps": {
            name: {
                "reads": [dataclasses.asdict(read) for read in step.reads],
                "record": dict(step.record),
            }
            for name, step in chain.steps.items()
        },
        "problems": [dataclasses.asdict(source) for source in chain.problems()],
    }
