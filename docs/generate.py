"""Write the reference pages that are read off the program itself, into docs/generated/ (the build
calls this).

    python docs/generate.py

`commands.md` from the argument parsers, `claims.md` from claims.yaml, the ledger and the provenance
records of the last run, `figures.md` from the figures' table of what draws them and the record of
what each was drawn from, `messages.md` from every `UserError` in the sources, `notebook.md` from
what the cells of notebook.py print on the finished run of this checkout.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import importlib
import inspect
import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import petriscope
from petriscope.claims.rules import checks_as_markdown
from petriscope.cli import VERBS, build_parser
from petriscope.commands.claims import checks_of
from petriscope.figures.style import as_markdown as as_table
from petriscope.run.chain import drawn_from
from petriscope.run.workspace import Workspace
from petriscope.studies.chromatin.figures import DRAWN, TABLES
from petriscope.studies.chromatin.study import STUDY

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCES = REPOSITORY / "src" / "petriscope"
OUT = REPOSITORY / "docs" / "generated"
NOT_SCIENCE = tuple(
    f"petriscope.{name}." for name in ("files", "errors", "progress", "device", "run")
)


class Drawn(NamedTuple):
    """One figure or table: what draws it and which stage outputs it reads."""

    name: str
    draws: str
    reads: tuple[tuple[str, str], ...]
    """(stage, file)."""


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Every parser of the command line, sub-commands after their parent."""
    width = os.environ.pop("COLUMNS", None)
    os.environ["COLUMNS"] = "110"
    try:
        for verb in VERBS:
            yield from _with_children(_children(build_parser(verb))[verb])
    finally:
        os.environ.pop("COLUMNS")
        if width is not None:
            os.environ["COLUMNS"] = width


def _children(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return dict(groups[0].choices) if groups else {}


def _with_children(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for child in _children(parser).values():
        yield from _with_children(child)


def commands_page() -> str:
    """The command-line reference."""
    parts = [
        "# Command line\n\nRead off the program's own parsers. `python -m petriscope` is the same "
        "command.\n"
    ]
    parts += [f"## {parser.prog}\n\n```text\n{parser.format_help()}```\n" for parser in parsers()]
    return "\n".join(parts)


def claims_page(workspace: Workspace) -> str:
    """How to check each claim: `petriscope claims --how`."""
    head = (
        "# Claims: command, expected value, time\n\n"
        "`petriscope claims --how` prints this table. *Command*: what recomputes the claim where "
        "everything upstream is\n"
        "there (then `petriscope stage claims`). *Expected*: our corrected value in the ledger "
        "that ships. *Time*: of\n"
        "those stages alone, and of all they need, on the machine that ran last.\n\n"
    )
    return head + checks_as_markdown(checks_of(workspace))


def figures_drawn(workspace: Workspace) -> list[Drawn]:
    """Figures and tables with what draws them, and the files that stage figures recorded as read
    when it drew them."""
    draws = {name: _where(draw) for name, draw in DRAWN.items()}
    draws |= dict.fromkeys(TABLES, _where(as_table))
    read = {name: files for name, (_, files) in drawn_from(workspace).items()}
    return [
        Drawn(name, where, tuple(_stage_and_file(file) for file in read.get(name, [])))
        for name, where in draws.items()
    ]


def _where(function: Callable[..., Any]) -> str:
    return f"{function.__module__}:{function.__name__}"


def _stage_and_file(path: str) -> tuple[str, str]:
    stage, file = PurePosixPath(path).parts
    return stage, file


def computed_by(stage: str) -> list[str]:
    """`module:function` of every library function that a stage's module imported."""
    module = importlib.import_module(STUDY.stage(stage))
    return [
        _where(thing)
        for thing in vars(module).values()
        if inspect.isfunction(thing)
        and thing.__module__ != module.__name__
        and f"{thing.__module__}.".startswith("petriscope.")
        and not f"{thing.__module__}.".startswith(NOT_SCIENCE)
    ]


def place(where: str) -> str:
    """`src/petriscope/….py:LINE` of a `module:attribute`; raises where it does not exist."""
    module, _, attribute = where.partition(":")
    thing = inspect.unwrap(getattr(importlib.import_module(module), attribute))
    file = Path(inspect.getsourcefile(thing) or "").resolve()
    package = Path(petriscope.__file__).resolve().parent  # not always the one beside this file
    return f"src/petriscope/{file.relative_to(package)}:{inspect.getsourcelines(thing)[1]}"


def figures_page(workspace: Workspace) -> str:
    """From a figure to the lines that computed it."""
    drawn = figures_drawn(workspace)
    lines = [
        "# Where each figure comes from\n",
        "Step one, the figure or table and the files it is drawn from:\n",
        "| figure or table | drawn by | from |",
        "|---|---|---|",
    ]
    for item in drawn:
        files = ", ".join(f"`results/{stage}/{file}`" for stage, file in item.reads)
        lines.append(f"| `{item.name}` | `{place(item.draws)}` | {files} |")
    lines += [
        "\nStep two and three, the stage that wrote the file "
        "(`STAGE.py` in `src/petriscope/stages/`, or in the study's own `stages/`; a page or two) "
        "and the",
        "functions it calls:\n",
        "| stage | computes with |",
        "|---|---|",
    ]
    for stage in dict.fromkeys(stage for item in drawn for stage, _ in item.reads):
        functions = "<br>".join(
            f"`{where.split(':')[1]}` {place(where)}" for where in computed_by(stage)
        )
        lines.append(f"| `{stage}` | {functions} |")
    return "\n".join(lines) + "\n"


class Message(NamedTuple):
    """One message for the user."""

    where: str
    what: str
    remedy: str


def messages() -> list[Message]:
    """Every `UserError` raised in the sources: its text and its remedy, with `…` where values
    stand."""
    found = []
    for path in sorted(SOURCES.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "UserError" and node.args:
                given = {word.arg: word.value for word in node.keywords}
                text, remedy = _text(node.args[0]), _text(given.get("remedy"))
                if text and remedy:
                    found.append(Message(str(path.relative_to(SOURCES.parent)), text, remedy))
    return found


def _text(node: ast.expr | None) -> str:
    if isinstance(node, ast.Constant):
        return " ".join(str(node.value).split())
    if isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
        return " ".join("".join(parts).split())
    return ""


def messages_page() -> str:
    """All messages of the program with their remedies."""
    lines = [
        "# Every message and its remedy\n",
        "A mistake in the input ends with status 2 and one line, `petriscope: FILE: FIELD: what. "
        "Remedy`. `…` stands for",
        "a value. Read off the sources, where most messages are; those put together from parts "
        "are not listed.\n",
        "| from | message | remedy |",
        "|---|---|---|",
    ]
    for message in messages():
        cells = (f"`{message.where}`", _cell(message.what), _cell(message.remedy))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    escaped = text.replace("|", "/").replace("<", "&lt;").replace("*", "\\*")
    return escaped if escaped.count("`") % 2 == 0 else escaped.replace("`", "'")


class Cell(NamedTuple):
    """A cell of notebook.py: text, or code."""

    is_code: bool
    body: str


NOTEBOOK = REPOSITORY / "docs" / "notebook.py"
NOT_RUN = "*No finished run was there when this page was built: run `petriscope reproduce` first.*"


def read_cells(path: Path = NOTEBOOK) -> list[Cell]:
    """Cells of a script in the percent format, which notebook editors open."""
    cells = []
    for part in path.read_text(encoding="utf-8").split("# %%")[1:]:
        head, _, body = part.partition("\n")
        if "[markdown]" in head:
            text = "\n".join(line[2:] for line in body.strip().splitlines())
            cells.append(Cell(False, text))
        else:
            cells.append(Cell(True, body.strip()))
    return cells


def run_cell(body: str, names: dict[str, Any]) -> tuple[str, Any]:
    """Run a cell among ``names`` as a notebook does: what it printed, and the value of its last
    line."""
    tree, printed, value = ast.parse(body), io.StringIO(), None
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "notebook.py", "exec"), names)
        if last is not None:
            code = compile(ast.Expression(last.value), "notebook.py", "eval")
            value = eval(code, names)
    return printed.getvalue(), value


def notebook_page(folder: Path, workspace: Workspace) -> str:
    """The notebook with what its cells print on a finished run; figures go to ``folder``."""
    finished = workspace.metrics("figures").is_file()
    names: dict[str, Any] = {}
    parts = []
    for number, cell in enumerate(read_cells()):
        if not cell.is_code:
            parts += [cell.body] + ([NOT_RUN] if number == 0 and not finished else [])
            continue
        parts.append(f"```python\n{cell.body}\n```")
        if not finished:
            continue
        with contextlib.chdir(workspace.root):
            printed, value = run_cell(cell.body, names)
        if hasattr(value, "savefig"):
            value.savefig(folder / f"notebook_{number}.png", dpi=110)
            parts.append(f"![](notebook_{number}.png)")
        elif value is not None:
            printed += f"{value!r}\n"
        if printed:
            parts.append(f"```text\n{printed.replace(str(workspace.root), '.')}```")
    return "\n\n".join(parts) + "\n"


SEQUENCE_SECONDS, BIOSAMPLE_SECONDS = 27.3, 7.7
"""CPU-seconds of full-size EpiBERT per 524,288-bp window: sequence branch, and each biosample
(epibert_forward.py)."""
TOKENS, WIDTH, SITES = 4092, 1024, 9


def cost_table() -> str:
    """Tokens, bytes and CPU-hours of the harvest of full-size EpiBERT, by formula."""
    lines = [
        "For W windows of 524,288 bp, S biosamples and full-size EpiBERT (d = 1024, nine sites, "
        "4,092 tokens a window):\n",
        "    tokens = W * S * 4092",
        "    bytes per site (float16) = tokens * 1024 * 2",
        f"    CPU-seconds = W * ({SEQUENCE_SECONDS} + {BIOSAMPLE_SECONDS} * S)\n",
        "The two constants are measured on one core, float32 (`python "
        "benchmarks/epibert_forward.py`): the sequence branch",
        "runs once a window for all biosamples.\n",
        "| windows | biosamples | tokens per site | one site | nine sites | CPU-hours |",
        "|---|---|---|---|---|---|",
    ]
    for windows in (100, 500, 1840):
        for samples in (6, 12):
            tokens = windows * samples * TOKENS
            site = tokens * WIDTH * 2 / 1e9
            hours = windows * (SEQUENCE_SECONDS + BIOSAMPLE_SECONDS * samples) / 3600
            cells = (
                f"{windows:,}",
                str(samples),
                f"{tokens / 1e6:.1f} M",
                f"{site:.0f} GB",
                f"{SITES * site:,.0f} GB",
            )
            lines.append(f"| {' | '.join(cells)} | {hours:.1f} |")
    return "\n".join(lines) + "\n"


def write_all(folder: Path = OUT) -> None:
    """Write the generated pages."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "commands.md").write_text(commands_page())
    (folder / "claims.md").write_text(claims_page(Workspace(REPOSITORY)))
    (folder / "figures.md").write_text(figures_page(Workspace(REPOSITORY)))
    (folder / "cost.md").write_text(cost_table())
    (folder / "messages.md").write_text(messages_page())
    (folder / "notebook.md").write_text(notebook_page(folder, Workspace(REPOSITORY)))


if __name__ == "__main__":
    write_all()
