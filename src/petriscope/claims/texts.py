"""A sentence of the ledger is a Jinja2 template in claims.yaml, filled in with the numbers that the
stages measured.

``{{ ablation.g | number('.2f') }} over {{ ablation.blocks }} blocks`` reads results/metrics/
ablation.json. A value that was not measured (None) makes the whole text ``-``, unless the template
says otherwise (``dash``, ``each``, ``{% if %}``); a name that no stage wrote is a mistake in
claims.yaml.
"""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jinja2 import StrictUndefined, TemplateError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.runtime import LoopContext
from jinja2.sandbox import SandboxedEnvironment

from petriscope.errors import UserError

MISSING = "-"
"""What is printed for what was not measured."""


class NotMeasured(Exception):
    """A value that a text prints is None."""


class Environment(SandboxedEnvironment):
    """Jinja2 without access to anything but the entries of the metrics."""

    def getattr(self, obj: Any, attribute: str) -> Any:
        """``a.b`` is the entry ``b`` of ``a`` and never a method; of nothing it is nothing."""
        if obj is None:
            return None
        if isinstance(obj, Mapping) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, LoopContext):  # loop.last and its like
            return super().getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)


class _Formatter(string.Formatter):
    """`str.format` that prints `-` for None and reaches into no value."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:
        if not field_name.isidentifier() and not field_name.isdigit():
            raise ValueError(f"{{{field_name}}} is neither a place nor a name")
        try:
            return super().get_field(field_name, args, kwargs)
        except LookupError:
            raise ValueError(f"{{{field_name}}} stands for nothing") from None

    def format_field(self, value: Any, format_spec: str) -> str:
        return MISSING if value is None else super().format_field(value, format_spec)


def each(values: Any, pattern: str, *others: Any) -> list[str] | None:
    """``pattern`` filled in for every value: ``{}`` is the value, or the key and then the value of
    a mapping, followed by what ``others`` hold at the same place; ``{name}`` is an entry of a value
    that is a mapping itself."""
    if values is None:
        return None
    formatter, filled = _Formatter(), []
    pairs = (
        [(key, (key, value)) for key, value in values.items()]
        if isinstance(values, Mapping)
        else [(place, (value,)) for place, value in enumerate(values)]
    )
    for place, own in pairs:
        beside = [None if other is None else other[place] for other in others]
        named = own[-1] if isinstance(own[-1], Mapping) else {}
        filled.append(formatter.vformat(pattern, (*own, *beside), named))
    return filled


def join(values: Sequence[Any] | None, by: str = "; ") -> str | None:
    """The values with ``by`` between them."""
    return None if values is None else by.join(MISSING if v is None else str(v) for v in values)


def number(value: float | None, spec: str = ".3g") -> str | None:
    """A number by Python's format specification."""
    return None if value is None else format(value, spec)


def percent(value: float | None, digits: int = 0) -> str | None:
    """A share in percent: ``31.6%``."""
    return number(value, f".{digits}%")


def p_value(value: float | None) -> str | None:
    """A p-value with one digit behind the point: ``5.5e-225``."""
    return number(value, ".1e")


def short(value: float | None) -> str | None:
    """A number as a threshold is written: ``.05``."""
    return None if value is None else f"{value:g}".removeprefix("0") or "0"


def dash(value: Any) -> Any:
    """The value, or ``-`` where it was not measured and the rest of the text still stands."""
    return MISSING if value is None else value


def _printed(value: Any) -> Any:
    if value is None:
        raise NotMeasured
    return value


def _environment() -> Environment:
    environment = Environment(autoescape=False, undefined=StrictUndefined, finalize=_printed)
    environment.filters |= {
        "each": each,
        "join": join,
        "number": number,
        "percent": percent,
        "p": p_value,
        "short": short,
        "dash": dash,
    }
    return environment


ENVIRONMENT = _environment()


def render(template: str, metrics: Mapping[str, Any], where: str = "text", field: str = "") -> str:
    """The text that a template of claims.yaml makes of the stages' metrics.

    Parameters: ``metrics`` — stage name → its metrics; ``where``, ``field`` — file and entry, for
    the message. Raises `UserError` where the template cannot be read, asks for what no stage wrote,
    or formats what is not a number.
    """
    for name in names(template, where, field):
        known(name, metrics, where, field)
    try:
        text = ENVIRONMENT.from_string(_braced(template)).render(metrics)
    except NotMeasured:
        return MISSING
    except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
        raise UserError(
            f"cannot be filled in: {error}",
            file=where,
            field=field or None,
            remedy=f"Correct the template: {template}",
        ) from None
    return text or MISSING


def names(template: str, where: str = "text", field: str = "") -> list[str]:
    """The dotted names of metrics that a template reads, in the order of its text."""
    try:
        tree = ENVIRONMENT.parse(_braced(template))
        free = find_undeclared_variables(tree)
    except TemplateError as error:
        raise UserError(
            f"is no template: {error}",
            file=where,
            field=field or None,
            remedy=f"Correct the template: {template}",
        ) from None
    return list(dict.fromkeys(name for name in _dotted(tree) if name.split(".")[0] in free))


def known(name: str, metrics: Mapping[str, Any], where: str, field: str = "") -> Any:
    """``stage.entry.sub`` in the metrics; raises `UserError` where no stage wrote it."""
    value: Any = metrics
    for part in name.split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping) or part not in value:
            remedy = "Correct the name in claims.yaml, or run the stage that writes it."
            raise UserError(
                f"no stage wrote {name}", file=where, field=field or None, remedy=remedy
            )
        value = value[part]
    return value


def _dotted(node: nodes.Node) -> Iterator[str]:
    match node:
        case nodes.Getattr() | nodes.Name():
            name = _chain(node)
            if name is not None:
                yield name
                return
    for child in node.iter_child_nodes():
        yield from _dotted(child)


def _chain(node: nodes.Node) -> str | None:
    """``a.b.c`` of nested attribute nodes; None where the innermost is no name."""
    match node:
        case nodes.Name(name=name):
            return name
        case nodes.Getattr(node=inner, attr=attribute):
            start = _chain(inner)
            return None if start is None else f"{start}.{attribute}"
    return None


def _braced(template: str) -> str:
    """A plain dotted name stands for the text of that metric."""
    plain = all(part.isidentifier() for part in template.split("."))
    return f"{{{{ {template} }}}}" if plain else template
