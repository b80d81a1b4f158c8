"""The description of a data set, `dataset.yaml`, is read field by field; every failure names the
field, what it holds and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from petriscope.errors import UserError
from petriscope.names import did_you_mean, exactly
from petriscope.textfile import read_yaml_text


def shown(value: Any) -> str:
    """A wrong value, cut short."""
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


class Described:
    """Typed access to a description, whose every scalar is text.

    Parameters: ``source`` — the YAML file; ``root`` — the folder to which its paths are relative;
    ``fields`` — what each level may hold, the top under ``""``; ``docs`` — the remedy where nothing
    better is known.
    """

    def __init__(
        self, source: Path, root: Path, fields: Mapping[str, Sequence[str]], docs: str
    ) -> None:
        self.source, self.root, self.fields, self.docs = source, root, fields, docs
        raw = read_yaml_text(source)
        if not isinstance(raw, dict):
            raise UserError("is not a mapping", file=source, remedy=docs)
        self.raw: dict[Any, Any] = raw

    def fail(self, field: str, what: str, remedy: str | None = None) -> UserError:
        """The error for a field."""
        return UserError(what, file=self.source, field=field, remedy=remedy or self.docs)

    def known(self, mapping: Mapping[Any, Any], level: str, where: str) -> None:
        """Refuse a field that ``level`` does not have, naming the nearest, or where it belongs."""
        for name in mapping:
            if name in self.fields[level]:
                continue
            field = f"{where}.{name}" if where else str(name)
            homes = [home or "the top level" for home in self.fields if name in self.fields[home]]
            remedy = did_you_mean(name, self.fields[level], kind="Fields here")
            if homes:
                belongs = f"{name} belongs under {' or '.join(homes)}."
                remedy = f"{belongs} {remedy}" if remedy.startswith("Did you mean") else belongs
            raise self.fail(field, "is not a field of a data set", remedy)

    def mapping(self, above: Mapping[Any, Any], field: str, default: Any = ...) -> dict[Any, Any]:
        """A mapping."""
        value = self.value(above, field, default)
        if not isinstance(value, dict):
            raise self.fail(field, f"must be a mapping, not {shown(value)}")
        return value

    def items(self, above: Mapping[Any, Any], field: str) -> list[Any]:
        """A list."""
        value = self.value(above, field)
        if not isinstance(value, list):
            remedy = f"Write [{value}]." if isinstance(value, str) else "Write it as [a, b]."
            raise self.fail(field, f"must be a list, not {shown(value)}", remedy)
        return value

    def names(self, above: Mapping[Any, Any], field: str) -> tuple[str, ...]:
        """A list of texts, each once."""
        found: list[str] = []
        for i, value in enumerate(self.items(above, field)):
            if not isinstance(value, str) or not value.strip():
                raise self.fail(f"{field}[{i}]", f"must be a name, not {shown(value)}")
            if value in found:
                raise self.fail(f"{field}[{i}]", f"{value!r} appears twice", "Write it once.")
            found.append(value)
        return tuple(found)

    def text(self, above: Mapping[Any, Any], field: str, default: Any = ...) -> Any:
        """A text that is not empty, or ``default`` where the field is not there."""
        value = self.value(above, field, default)
        if value is default:
            return value
        if not isinstance(value, str):
            raise self.fail(field, f"must be a text, not {shown(value)}")
        if not value.strip() and default is ...:
            raise self.fail(field, "is empty", "Write its value.")
        return value

    def value(self, above: Mapping[Any, Any], field: str, default: Any = ...) -> Any:
        """Whatever the field holds."""
        value = above.get(field.rsplit(".", 1)[-1])
        if value is None:
            if default is ...:
                raise self.fail(field, "is missing")
            return default
        return value

    def file(self, above: Mapping[Any, Any], field: str, *, optional: bool = False) -> Path | None:
        """A file that is there."""
        name = self.text(above, field, None if optional else ...)
        return None if name is None else self.existing(name, field)

    def files(self, field: str) -> dict[str, Path]:
        """Name → file of a mapping at the top; empty where it is not there."""
        found = {}
        for name, value in self.mapping(self.raw, field, {}).items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise self.fail(f"{field}.{name}", f"must name a file, not {shown(value)}")
            found[name] = self.existing(value, f"{field}.{name}")
        return found

    def existing(self, name: str, field: str) -> Path:
        """The path of a file of that name, which must be there."""
        path = self.root / name
        try:
            found = path.is_file()
        except OSError:  # a name that no file can have
            found = False
        if not found:
            remedy = "Write a path relative to the data set's folder, or fetch the file."
            near = sorted(p.name for p in path.parent.iterdir()) if path.parent.is_dir() else []
            nearest = did_you_mean(path.name, near)
            if nearest.startswith("Did you mean"):
                remedy = f"{nearest} {remedy}"
            raise self.fail(field, f"names {path}, which does not exist", remedy)
        return path

    def choice(
        self, above: Mapping[Any, Any], field: str, allowed: Sequence[str], kind: str = "Use"
    ) -> str:
        """One of ``allowed``, letter by letter."""
        value = self.text(above, field)
        return exactly(value, allowed, file=self.source, field=field, kind=kind)

    def yes(self, field: str) -> bool:
        """A field at the top that is true or false; false where it is not there."""
        value = self.text(self.raw, field, "false")
        return exactly(value, ("true", "false"), file=self.source, field=field) == "true"
