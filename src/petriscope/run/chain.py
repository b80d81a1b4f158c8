"""A chain leads from a figure, table, claim or file back to raw inputs, by the stages' provenance
records; it is printed as a tree for people, or as plain values for programs."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from petriscope.claims.rules import read_rules, stages_of
from petriscope.errors import UserError
from petriscope.files import combined, read_json
from petriscope.run.graph import Graph, Stage, load_graph
from petriscope.run.provenance import Digests
from petriscope.run.workspace import Workspace
from petriscope.textfile import read_yaml_text

State = Literal["as recorded", "changed", "missing", "stale", "not recorded"]
FIGURES = ("figures", "tables")


@dataclass(frozen=True)
class Source:
    """A file or folder. ``maker`` is the stage that wrote it (None: a raw input or code).

    ``state``: `changed` since the record was written, `missing`, `stale` (its stage ran again after
    it was read), or `not recorded`; ``detail`` names the file or stage.
    """

    path: str
    sha256: str | None
    state: State
    detail: str
    maker: str | None
    kind: Literal["made", "code", "raw"]
    origin: str = ""
    """of a raw data set: its name, license and where it came from"""


@dataclass(frozen=True)
class Step:
    """One stage's run. ``reads`` are the files the target needs, of what the stage read in all;
    ``record`` as written."""

    stage: str
    reads: tuple[Source, ...]
    record: Mapping[str, Any]


@dataclass(frozen=True)
class Chain:
    """``target`` as asked for, what it is, the file(s) that hold it, and every step behind it,
    nearest first."""

    target: str
    title: str
    files: tuple[Source, ...]
    steps: Mapping[str, Step]

    def problems(self) -> list[Source]:
        """Whatever is not as recorded, each path once."""
        found = [*self.files, *(read for step in self.steps.values() for read in step.reads)]
        return list({read.path: read for read in found if read.state != "as recorded"}.values())


class Records:
    """Graph, records and present files of one workspace."""

    def __init__(self, workspace: Workspace, digests: Digests | None = None) -> None:
        self.workspace = workspace
        self.graph: Graph = load_graph(workspace.root)
        self.digests = digests or Digests(workspace.root)
        self.stages = {
            name: stage for name, stage in self.graph.stages.items() if not stage.is_data
        }
        self.records = {name: self._record(name) for name in self.stages}
        self._present: dict[str, dict[str, str]] = {}

    def _record(self, name: str) -> Mapping[str, Any] | None:
        path = self.workspace.provenance(name)
        if not path.is_file():
            return None
        try:
            record = read_json(path)
        except UserError:
            raise UserError(
                "is not JSON", file=path, remedy=f"Run `petriscope stage {name}` again."
            ) from None
        return record if isinstance(record.get("inputs"), dict) else None

    def maker(self, path: str) -> tuple[Stage, str] | None:
        """The stage whose output is or contains ``path``, and that output."""
        for stage in self.stages.values():
            for out in stage.outs:
                if path == out.path or path.startswith(f"{out.path}/"):
                    return stage, out.path
        return None

    def source(
        self, path: str, reader: str = "", inputs: Mapping[str, Any] | None = None
    ) -> Source:
        """State of a path; ``inputs`` are those in the record of the stage ``reader`` that read
        it."""
        made = self.maker(path)
        read_as, read = covering(inputs or {}, path)
        if made is None:
            kind: Literal["code", "raw"] = "code" if is_code(path) else "raw"
            return replace(
                self._compared(path, read, None, kind, path),
                origin=origin(self.workspace.root / path),
            )
        stage, out = made
        record = self.records[stage.name]
        entry = None if record is None else record["outputs"].get(out)
        found = self._compared(path, entry, stage.name, "made", out)
        written = found.sha256 if read_as == path else entry and entry["sha256"]
        if found.state == "as recorded" and read and read["sha256"] != written:
            detail = (
                f"stage {stage.name} ran again, with another result, after stage {reader} had "
                "read it"
            )
            return Source(path, found.sha256, "stale", detail, stage.name, "made")
        return found

    def _compared(
        self,
        path: str,
        entry: Mapping[str, Any] | None,
        maker: str | None,
        kind: Literal["made", "code", "raw"],
        out: str,
    ) -> Source:
        now = self.present(out)
        inner = PurePosixPath(path).relative_to(out).as_posix() if path != out else ""
        if entry and entry["bytes"] == 0 and not now and (self.workspace.root / out).is_dir():
            return Source(path, None, "as recorded", "an empty folder", maker, kind)
        if entry is None or entry.get("sha256") is None:
            why = f"stage {maker} has no record" if maker else "no record holds its hash"
            return Source(path, None, "not recorded" if now else "missing", why, maker, kind)
        then: Mapping[str, str] = entry.get("files") or {"": entry["sha256"]}
        digest = str(entry["sha256"])
        if inner:  # one file, or a folder in a recorded folder
            then = {
                _below(name, inner): sha for name, sha in then.items() if _within(name, inner)
            } or {"": ""}
            now = {_below(name, inner): sha for name, sha in now.items() if _within(name, inner)}
            digest = combined(then)
        elif "files" not in entry and now:
            now = {"": combined(now)}
        if not now:
            return Source(path, digest, "missing", f"{path} is gone", maker, kind)
        wrong = differing(then, now)
        if wrong:
            named = ", ".join(f"{path}/{name}" if name else path for name in wrong[:3])
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            return Source(
                path,
                digest,
                "changed",
                f"{named}{more} changed after the record was written",
                maker,
                kind,
            )
        return Source(path, digest, "as recorded", "", maker, kind)

    def present(self, path: str) -> dict[str, str]:
        """Digests of the files now at ``path``."""
        if path not in self._present:
            self._present[path] = self.digests.files(self.workspace.root / path)
        return self._present[path]


def _within(name: str, inner: str) -> bool:
    return name == inner or name.startswith(f"{inner}/")


def _below(name: str, inner: str) -> str:
    return name[len(inner) + 1 :]


def differing(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names whose digests differ, or that are on one side only."""
    return sorted(name for name in {*then, *now} if then.get(name) != now.get(name))


def origin(path: Path) -> str:
    """What the data set in ``path`` says of itself: name, license, simulation or download."""
    description = path / "dataset.yaml"
    if not description.is_file():
        return ""
    content = read_yaml_text(description)
    parts = [f"data set {content.get('name')}", f"license {content.get('licence')}"]
    if simulation := content.get("simulation"):
        parts.insert(
            1, f"simulated with {', '.join(f'{key} {value}' for key, value in simulation.items())}"
        )
    if (path / "sources.lock.json").is_file():
        parts.insert(1, "addresses and hashes of its downloads in sources.lock.json")
    return "; ".join(parts)


def is_code(path: str) -> bool:
    """Whether an input is program rather than data."""
    return path.endswith(".py") or path.split("/", maxsplit=1)[0] in ("src", "code")


def trace(workspace: Workspace, target: str, records: Records | None = None) -> Chain:
    """The chain behind ``target``: a figure or table (`fig5`, `table3_calibration`), a claim, a
    stage, or a file.

    Raises `UserError` for a name that is none of these, with the nearest ones.
    """
    records = records or Records(workspace)
    title, files, narrowed = resolve(records, target)
    steps: dict[str, Step] = {}
    queue: list[tuple[str, Sequence[str] | None]] = []
    sources = tuple(records.source(path) for path in files)
    for source in sources:
        if source.maker is not None:
            queue.append((source.maker, narrowed))
    while queue:
        name, only = queue.pop(0)
        if name in steps:
            continue
        record = records.records[name] or {}
        inputs: Mapping[str, Any] = record.get("inputs") or dict.fromkeys(records.stages[name].deps)
        paths = list(inputs) if only is None else narrow(inputs, only)
        reads = tuple(records.source(path, name, inputs) for path in paths)
        steps[name] = Step(name, reads, record)
        queue += [(read.maker, None) for read in reads if read.maker is not None]
    return Chain(target, title, sources, steps)


def narrow(inputs: Iterable[str], only: Sequence[str]) -> list[str]:
    """The files the target was drawn from, in place of the stage's other made inputs; code and raw
    inputs stay."""
    return [
        *only,
        *(
            path
            for path in inputs
            if is_code(path) or not path.startswith(("results/", "paper_figures/"))
        ),
    ]


def covering(inputs: Mapping[str, Any], path: str) -> tuple[str, Mapping[str, Any] | None]:
    """The recorded input that is or (the innermost that) contains ``path``, and its entry."""
    around = [name for name in inputs if path == name or path.startswith(f"{name}/")]
    if not around:
        return "", None
    name = max(around, key=len)
    return name, inputs[name]


def resolve(records: Records, target: str) -> tuple[str, list[str], Sequence[str] | None]:
    """(what it is, files that hold it, files it was drawn from where that is less than all its
    stage read)."""
    workspace = records.workspace
    rules = {rule["id"]: rule for rule in read_rules(workspace.claims_rules)}
    if target in rules:
        rule = rules[target]
        metrics = [
            workspace.metrics(stage).relative_to(workspace.root).as_posix()
            for stage in stages_of(rule)
        ]
        return f"claim: {rule['statement']}", ["paper_figures/claims.json"], metrics
    drawn = drawn_from(workspace)
    names = [n for n in drawn if n == Path(target).stem] or [
        n for n in drawn if n.startswith(f"{Path(target).stem}_")
    ]
    if len(names) == 1 and ("/" not in target or (workspace.root / target).exists()):
        folder, sources = drawn[names[0]]
        files = sorted(p for p in records.present(folder) if PurePosixPath(p).stem == names[0])
        what = "table" if folder.endswith("tables") else "figure"
        return (
            f"{what} {names[0]}",
            [f"{folder}/{file}" for file in files],
            [f"results/{s}" for s in sources],
        )
    if target in records.stages:
        outs = [out.path for out in records.stages[target].outs if "/provenance/" not in out.path]
        return f"stage {target}", outs, None
    path = target.rstrip("/")
    if Path(path).is_absolute() and Path(path).is_relative_to(workspace.root):
        path = Path(path).relative_to(workspace.root).as_posix()
    if records.maker(path) is not None:
        return f"file {path}", [path], None
    known = [*rules, *drawn, *records.stages]
    close = difflib.get_close_matches(target, known, n=3, cutoff=0.4)
    remedy = (
        f"Did you mean {' or '.join(close)}?"
        if close
        else f"Known: {', '.join(known)}, or a file a stage wrote."
    )
    raise UserError("is no figure, table, claim, stage or output", field=target, remedy=remedy)


def drawn_from(workspace: Workspace) -> dict[str, tuple[str, list[str]]]:
    """Each figure and table: the folder it lies in and the files under results/ it was drawn
    from."""
    found: dict[str, tuple[str, list[str]]] = {}
    for folder in FIGURES:
        path = workspace.figures / folder / "sources.json"
        if path.is_file():
            place = (workspace.figures / folder).relative_to(workspace.root).as_posix()
            found |= {name: (place, list(files)) for name, files in read_json(path).items()}
    return found


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
