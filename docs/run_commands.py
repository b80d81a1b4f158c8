"""Run the commands of documentation pages, in order, in a scratch copy of the repository, and
compare what they print.

    python docs/run_commands.py [--keep] PAGE.md ...

A fenced ``console`` block holds commands after `$ ` (`> ` goes on) and what they print, where `...`
stands for anything; a command that shows no output may print anything. ``<!-- exit: N -->`` before
a block: its commands end so. ``<!-- file: NAME -->`` before any other block: the runner writes it.
``<!-- not run: REASON -->``: skipped, with a reason. All pages named share one scratch copy, in
which a finished run of the checkout is present by hard links.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
FENCE = re.compile(
    r"^(?P<fence>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=fence)\s*$", re.MULTILINE | re.DOTALL
)
MARK = re.compile(r"<!-- (exit|file|not run): (.*?) -->\s*\Z")
LINKED = ("results", "data", ".dvc/cache")
LEFT_OUT = {
    ".git",
    ".venv",
    "runs",
    "site",
    ".mypy_cache",
    ".ruff_cache",
    ".pytest_cache",
    ".hypothesis",
    "__pycache__",
}


class Command(NamedTuple):
    """One command and the output shown below it."""

    text: str
    output: str


class Block(NamedTuple):
    """One fenced block: commands to run, or a file to write."""

    page: str
    line: int
    language: str
    body: str
    mark: tuple[str, str]
    """(exit, file or not run; its value), or two empty strings."""

    def commands(self) -> list[Command]:
        """The commands of a console block."""
        found: list[Command] = []
        for line in self.body.splitlines():
            if line.startswith("$ "):
                found.append(Command(line[2:], ""))
            elif line.startswith("> ") and found and not found[-1].output:
                found[-1] = Command(f"{found[-1].text}\n{line[2:]}", "")
            elif found:
                found[-1] = Command(found[-1].text, f"{found[-1].output}{line}\n")
            else:
                raise ValueError(f"{self.page}:{self.line}: a console block starts with `$ `")
        return found


def read_blocks(page: Path) -> list[Block]:
    """Fenced blocks of a Markdown page with the mark before each."""
    text, blocks = page.read_text(encoding="utf-8"), []
    for match in FENCE.finditer(text):
        mark = MARK.search(text[: match.start()])
        line = text[: match.start()].count("\n") + 1
        found = (mark[1], mark[2]) if mark else ("", "")
        blocks.append(Block(page.name, line, match["info"].strip(), match["body"], found))
    return blocks


def matches(expected: str, found: str) -> bool:
    """Whether ``found`` is ``expected``, in which `...` stands for anything and space at line ends
    does not count."""
    parts = [re.escape(part) for part in re.split(r"\.\.\.", _trimmed(expected))]
    return re.fullmatch(".*".join(parts), _trimmed(found), re.DOTALL) is not None


def _trimmed(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def scratch_copy(source: Path, target: Path) -> None:
    """Copy a checkout; large results, which stages replace and never change in place, are
    linked."""

    def link_or_copy(file: str, to: str) -> str:
        linked = any(Path(file).is_relative_to(source / part) for part in LINKED)
        return shutil.copy2(file, to) if not linked else (os.link(file, to) or to)

    skip = shutil.ignore_patterns(*LEFT_OUT, "tmp")
    shutil.copytree(source, target, symlinks=True, ignore=skip, copy_function=link_or_copy)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "scratch"]):
        identity = ["-c", "user.name=docs", "-c", "user.email=docs@example.org"]
        subprocess.run(["git", *identity, *command], cwd=target, check=True, capture_output=True)


def run_block(block: Block, folder: Path, cwd: Path) -> Path:
    """Run one block in ``cwd``; returns where its `cd` commands left off. Exits with the page and
    line that failed."""
    kind, value = block.mark
    if kind == "file":
        (cwd / value).parent.mkdir(parents=True, exist_ok=True)
        (cwd / value).write_text(block.body)
    if block.language != "console" or kind == "not run":
        return cwd
    wanted = int(value) if kind == "exit" else 0
    for command in block.commands():
        where = f"{block.page}:{block.line}"
        started = time.time()
        script = f"{command.text}\nstatus=$?\npwd > {folder / 'cwd'}\nexit $status"
        result = subprocess.run(
            ["bash", "-c", script],
            cwd=cwd,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
        print(
            f"{where}: $ {command.text.splitlines()[0]}  ({time.time() - started:.0f} s)",
            flush=True,
        )
        if result.returncode != wanted:
            sys.exit(
                f"{result.stdout[-3000:]}\n{where}: ended with {result.returncode}, the page says "
                f"{wanted}"
            )
        if command.output and not matches(command.output, result.stdout):
            sys.exit(f"{where}: printed\n{result.stdout}\nthe page says\n{command.output}")
        cwd = Path((folder / "cwd").read_text().strip())
    return cwd


def main() -> None:
    """Run the pages named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument(
        "--keep", action="store_true", help="leave the scratch copy and say where it is"
    )
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="petriscope-docs-", dir=REPOSITORY.parent))
    try:
        scratch_copy(REPOSITORY, folder / "petriscope")
        for page in args.pages:
            cwd = folder / "petriscope"
            for block in read_blocks(page):
                cwd = run_block(block, folder, cwd)
    finally:
        if args.keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
