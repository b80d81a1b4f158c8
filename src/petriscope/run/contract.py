"""The contract between a stage's code and dvc.yaml says which source files a stage depends on; the
rows of dvc.yaml are written from it.

`python -m petriscope.run.contract --write` rewrites the code rows of dvc.yaml; without
`--write` it says which stages' rows are not what it would write, with status 1.
"""

from __future__ import annotations

import argparse
import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import petriscope
from petriscope.files import atomic_path
from petriscope.run.graph import load_yaml
from petriscope.run.params import study_of
from petriscope.run.snapshot import PACKAGE
from petriscope.run.studies import PACKAGE as PACKAGE_OF_STUDIES
from petriscope.run.studies import SHARED_STAGES, Study

ROOT = petriscope.__name__
BY_NAME = 3
"""A package of which a stage imports so few modules is listed by file; of more, as a folder."""
WIDTH = 120


@functools.cache
def source(module: str) -> Path:
    """The file of a module of this package. Raises ModuleNotFoundError."""
    path = _folder(module)
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    raise ModuleNotFoundError(module)


@functools.cache
def is_module(name: str) -> bool:
    """Whether a dotted name is a module of this package, not a name inside one."""
    path = _folder(name)
    return (path / "__init__.py").is_file() or path.with_suffix(".py").is_file()


def _folder(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")[1:])


@functools.cache
def tree(module: str) -> ast.Module:
    """The parsed source of a module of this package."""
    return ast.parse(source(module).read_text(encoding="utf-8"), str(source(module)))


@functools.cache
def imported(module: str) -> frozenset[str]:
    """Modules of this package that a module imports, at its top or inside a function."""
    return frozenset(imports_of(tree(module), module))


def imports_of(code: ast.AST, module: str) -> set[str]:
    """Modules of this package that the code of ``module`` imports.

    What only the type checker reads (`if TYPE_CHECKING:`) never runs and does not count.
    """
    found: set[str] = set()
    for node in _running(code):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names if one.name.split(".")[0] == ROOT}
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node)
            if base.split(".")[0] == ROOT:
                inner = {f"{base}.{one.name}" for one in node.names}
                found |= {name if is_module(name) else base for name in inner}
    return found


def _running(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            for other in child.orelse:
                yield from (other, *_running(other))
        else:
            yield child
            yield from _running(child)


def absolute(module: str, node: ast.ImportFrom) -> str:
    """The module that a `from` statement in ``module`` names, dots of a relative one resolved."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    above = node.level - (source(module).name == "__init__.py")
    parts = parts[: len(parts) - above]
    return ".".join([*parts, *([node.module] if node.module else [])])


@functools.cache
def closure(module: str) -> frozenset[str]:
    """``module`` and every module of this package that its import brings in, packages' `__init__`
    included.

    The package's own root is left out: it is the public face, which loads the rest on first use,
    and no stage goes through it.
    """
    found: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or name == ROOT:
            continue
        found.add(name)
        waiting += imported(name)
        waiting.append(name.rpartition(".")[0])
    return frozenset(found)


def stage_modules(study: Study, name: str) -> frozenset[str]:
    """Every module of this package that a stage's body brings in: by its imports, and by what the
    shared stages ask of the study (`workspace.study.design(...)`), whose functions import what they
    need when they are called."""
    found = set(closure(study.stage(name)))
    shared = [one for one in found if one.startswith(f"{SHARED_STAGES}.")]
    for ask in sorted({ask for one in shared for ask in asked(tree(one))}):
        function = getattr(study, ask)
        if callable(function):
            module = function.__module__
            body = next(
                (
                    node
                    for node in tree(module).body
                    if isinstance(node, ast.FunctionDef) and node.name == function.__name__
                ),
                None,
            )
            if body is None:
                continue  # a default that says nothing: it imports nothing
            found.add(module)
            found |= {one for name in imports_of(body, module) for one in closure(name)}
    return frozenset(found)


def asked(code: ast.AST) -> set[str]:
    """What a piece of code reads of a study: NAME in `workspace.study.NAME`."""
    return {
        node.attr
        for node in ast.walk(code)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "study"
    }


def code_rows(study: Study, name: str) -> list[str]:
    """What a stage depends on, relative to the package: files, and folders with all they hold.

    A package is listed as a folder where more than `BY_NAME` of its modules are imported, or where
    an imported module reads a file that lies in it (`importlib.resources`). The package's top, the
    stages, the machinery that runs them and a package that holds other packages are always listed
    by file, for a folder would take in what no stage uses. An `__init__` that is only a docstring
    is no row.
    """
    modules = stage_modules(study, name)
    files = [source(name) for name in modules if _says_something(name)]
    folders = {_folder(name) for one in modules for name in _resources(one)}
    by_folder: dict[Path, list[Path]] = {}
    for file in files:
        by_folder.setdefault(file.parent, []).append(file)
    stages = {source(f"{PACKAGE_OF_STUDIES}.{study.name}.stages").parent, _folder(SHARED_STAGES)}
    by_file = (PACKAGE, *stages, Path(__file__).parent)
    whole = {
        folder
        for folder, held in by_folder.items()
        if folder not in by_file and not any(folder.glob("*/__init__.py")) and len(held) > BY_NAME
    }
    whole |= folders
    rows = whole | {file for file in files if file.parent not in whole}
    return sorted(path.relative_to(PACKAGE).as_posix() for path in rows)


@functools.cache
def _resources(module: str) -> set[str]:
    """Packages whose files a module reads: the literal arguments of `resources.files`."""
    return {
        node.args[0].value
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "files"
        and node.args
        and isinstance(node.args[0], ast.Constant)
        and isinstance(node.args[0].value, str)
        and node.args[0].value.startswith(f"{ROOT}.")
    }


@functools.cache
def _says_something(module: str) -> bool:
    """Whether a module is more than a docstring."""
    return len(tree(module).body) > (ast.get_docstring(tree(module)) is not None)


def with_code_rows(path: Path) -> str:
    """The text of a dvc.yaml with every stage's code rows as they should be; all else stays."""
    text, study = path.read_text(encoding="utf-8"), study_of(path.with_name("params.yaml"))
    for name, stage in load_yaml(path)["stages"].items():
        given = [row for row in stage.get("deps") or [] if not row.startswith("${code}/")]
        code = [f"${{code}}/{row}" for row in code_rows(study, name)]
        pattern = rf"(?m)^(  {name}:\n(?:    .*\n)*?)    deps:.*\n(?:     .*\n|    - .*\n)*"
        rows = _deps(given, code)
        text = re.sub(pattern, lambda found: found[1] + rows, text, count=1)  # noqa: B023
    return text


def _deps(given: list[str], code: list[str]) -> str:
    """The `deps` entry: what the stage reads first, its code after that from a new line on."""
    parts = [_wrapped(rows) for rows in (given, code) if rows]
    return "    deps: [\n" + ",\n".join(parts) + "]\n"


def _wrapped(rows: list[str]) -> str:
    lines, line = [], ""
    for row in rows:
        item = f'"{row}"' if "$" in row else row
        if line and len(line) + len(item) + 2 > WIDTH:
            lines.append(line)
            line = ""
        line = f"{line}, {item}" if line else f"      {item}"
    return ",\n".join([*lines, line])


def main() -> int:
    """Check the code rows of a dvc.yaml, or write them."""
    parser = argparse.ArgumentParser(description="Code rows of dvc.yaml: check or write them.")
    parser.add_argument("file", nargs="?", default="dvc.yaml", type=Path)
    parser.add_argument("--write", action="store_true", help="rewrite the file")
    args = parser.parse_args()
    new = with_code_rows(args.file)
    same = new == args.file.read_text(encoding="utf-8")
    if args.write and not same:
        with atomic_path(args.file) as temporary:
            temporary.write_text(new, encoding="utf-8")
    elif not same:
        print(f"{args.file}: code rows are out of date. Write them with --write.")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
