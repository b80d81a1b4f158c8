"""Which entries of params.yaml a stage's code can read on any path, by reading the code itself."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from typing import NamedTuple

from stage_trace import fields_of

from petriscope.run import params as shared
from petriscope.run.contract import ROOT, absolute, asked, is_module, tree
from petriscope.run.studies import Study


class Place(NamedTuple):
    """Something defined at the top of a module; ``name`` '' is the module itself."""

    module: str
    name: str


class Schema:
    """The parameters of a study: their sections and leaves, and who reads them."""

    def __init__(self, study: Study) -> None:
        self.study = study
        fields = list(fields_of(study.params))
        self.sections = {
            parent.__name__: prefix.rstrip(".")
            for kind, prefix, _ in fields
            for parent in kind.__mro__[:-1]
        }
        """Class of params.py → the section it holds; the whole file is ''."""
        self.homes = {shared.__name__, study.params.__module__}
        """Modules that define those classes."""
        self.names = {f"{prefix}{name}" for _, prefix, hints in fields for name in hints}
        """Every dotted name, sections and leaves."""
        self.leaves = self.names - set(self.sections.values())

    def reads(self, stage: str) -> set[str]:
        """Sections passed on whole and leaves read by the function `run` of a stage and by all that
        it names, directly or not."""
        found: set[str] = set()
        seen: set[Place] = set()
        waiting = [Place(self.study.stage(stage), "run")]
        while waiting:
            place = waiting.pop()
            if place in seen:
                continue
            seen.add(place)
            node = defined(place.module).get(place.name)
            if isinstance(node, Place):
                waiting.append(node)
            elif node is not None and place.module not in self.homes:
                found |= Chains(self, place.module, node).found
                waiting += named(place.module, node)
                for function in (getattr(self.study, name) for name in asked(node)):
                    if callable(function):
                        waiting.append(Place(function.__module__, function.__name__))
        return found


@functools.cache
def defined(module: str) -> dict[str, ast.AST | Place]:
    """Names of a module → the function, class or assignment that defines them, or where they are
    imported from (also inside functions)."""
    names: dict[str, ast.AST | Place] = {}
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom):
            base = absolute(module, node)
            if base.split(".")[0] == ROOT:
                for one in node.names:
                    inner = f"{base}.{one.name}"
                    target = Place(inner, "") if is_module(inner) else Place(base, one.name)
                    names[one.asname or one.name] = target
        elif isinstance(node, ast.Import):
            for one in node.names:
                if one.asname and one.name.split(".")[0] == ROOT:
                    names[one.asname] = Place(one.name, "")
    for node in tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            for target in targets:
                for name in ast.walk(target):
                    if isinstance(name, ast.Name):
                        names[name.id] = node
    return names


def named(module: str, node: ast.AST) -> Iterator[Place]:
    """Places of this package that a piece of code names: functions called or handed on, classes,
    tables of functions."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name) and inner.id in defined(module):
            yield Place(module, inner.id)
        elif isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name):
            holder = defined(module).get(inner.value.id)
            if isinstance(holder, Place) and not holder.name:
                yield Place(holder.module, inner.attr)


class Chains(ast.NodeVisitor):
    """Attribute chains such as ``params.cds.alpha`` in a piece of code, from arguments whose type
    is a class of params.py, from what `load_params` returns, and from local names for either."""

    def __init__(self, schema: Schema, module: str, node: ast.AST) -> None:
        self.schema, self.module = schema, module
        self.found: set[str] = set()
        self.roots: dict[str, str] = {}
        for inner in ast.walk(node):
            if isinstance(inner, ast.arg) and inner.annotation is not None:
                section = self._section(inner.annotation)
                if section is not None:
                    self.roots[inner.arg] = section
        for name, value in _given_names(node):  # a local name: `asked = params.model`
            dotted = self._dotted(value)
            if dotted is not None and dotted not in self.schema.leaves:
                self.roots[name] = dotted
        self.visit(node)

    def _section(self, annotation: ast.AST) -> str | None:
        for inner in ast.walk(annotation):
            if isinstance(inner, ast.Name):
                target = defined(self.module).get(inner.id)
                if target in [Place(home, inner.id) for home in self.schema.homes]:
                    return self.schema.sections.get(inner.id)
        return None

    def _dotted(self, node: ast.AST) -> str | None:
        """The dotted name an expression stands for ('' is the whole), None if it is no part of
        params.yaml."""
        if isinstance(node, ast.Name):
            return self.roots.get(node.id)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            return "" if node.func.id == "load_params" else None
        if isinstance(node, ast.Attribute):
            base = self._dotted(node.value)
            name = node.attr if base == "" else f"{base}.{node.attr}"
            return name if base is not None and name in self.schema.names else None
        return None

    def visit_Assign(self, node: ast.Assign) -> None:
        named = [value for name, value in _given_names(node) if name in self.roots]
        for part in [*node.targets, *_parts(node.value)]:
            if part not in named:  # a section given a name is not passed on: its use counts
                self.visit(part)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        dotted = self._dotted(node)
        if dotted:
            self.found.add(dotted)
        elif not self._dotted(node.value):
            self.generic_visit(node)
        else:  # a section's own method
            self.found.add(str(self._dotted(node.value)))

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load) and self.roots.get(
            node.id
        ):  # a section handed on by its local name
            self.found.add(self.roots[node.id])


def _parts(value: ast.expr) -> list[ast.expr]:
    return value.elts if isinstance(value, ast.Tuple) else [value]


def _given_names(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """(name, what it stands for) of every `a = x` and `a, b = x, y`."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assign):
            for target in inner.targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                values = _parts(inner.value)
                if len(names) == len(values):
                    for name, value in zip(names, values):
                        if isinstance(name, ast.Name):
                            yield name.id, value
