"""The claims ledger: published value, our value as published, our corrected value, and a verdict by
a frozen rule."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from petriscope.errors import UserError

TEXTS = ("as_published", "corrected", "interval")
SUPPORTED, NOT_SUPPORTED, UNTESTABLE = (
    "supported",
    "not supported",
    "cannot be tested on this data set",
)
FIELDS = (
    *("id", "source", "statement", "published", "definition_published", "definition_corrected"),
    *(
        "as_published",
        "corrected",
        "interval",
        "needs",
        "reason",
        "control",
        "control_results",
        "rule",
    ),
)


@dataclass(frozen=True)
class Claim:
    """One evaluated row of the ledger."""

    id: str
    source: str
    statement: str
    published: str
    as_published: str
    corrected: str
    interval: str
    verdict: str
    why: str
    rule: str
    control: str
    control_results: str
    """what the control stages measured, in words; "-" where none speaks to this claim"""
    definition_published: str
    definition_corrected: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def read_rules(path: str | Path) -> list[dict[str, Any]]:
    """The ledger's frozen text. Raises `UserError` naming entry and field."""
    path = Path(path)
    entries = yaml.safe_load(path.read_text())["claims"]
    for i, entry in enumerate(entries):
        wrong = [name for name in FIELDS if name not in entry] + [
            name for name in entry if name not in FIELDS
        ]
        if wrong:
            remedy = f"An entry has exactly: {', '.join(FIELDS)}."
            raise UserError(
                "is missing or unknown", file=path, field=f"claims[{i}].{wrong[0]}", remedy=remedy
            )
    return entries


def evaluate(
    rules: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any], source: str = "claims.yaml"
) -> list[Claim]:
    """Hold each rule against the stages' metrics (stage name → its metrics)."""
    claims = []
    for rule in rules:
        where = f"{source}: {rule['id']}"
        missing = [need for need in rule["needs"] if not _look_up(need, metrics, where)]
        if missing:
            verdict = UNTESTABLE
            why = str(_look_up(rule["reason"], metrics, where) or f"{missing[0]} does not hold")
        else:
            holds = evaluate_rule(rule["rule"], metrics, where)
            verdict = SUPPORTED if holds else NOT_SUPPORTED
            why = f"{rule['rule']} is {'true' if holds else 'false'}"
        shown = ("as_published",) if missing else TEXTS
        texts = dict.fromkeys(TEXTS, "-") | {
            name: str(_look_up(rule[name], metrics, where) or "-")
            for name in shown
            if rule[name] is not None
        }
        found = [_look_up(name, metrics, where) for name in rule["control_results"]]
        texts["control_results"] = "; ".join(str(text) for text in found if text) or "-"
        fixed = {
            name: str(rule[name])
            for name in Claim.__dataclass_fields__
            if name in rule and name not in texts
        }
        claims.append(Claim(**fixed, **texts, verdict=verdict, why=why))
    return claims


def rises(values: Sequence[float]) -> bool:
    """Whether the last value exceeds the first."""
    return len(values) > 1 and values[-1] > values[0]


def above(values: Sequence[float], others: Sequence[float]) -> bool:
    """Whether every value exceeds its counterpart."""
    return len(values) == len(others) > 0 and all(a > b for a, b in zip(values, others))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "rises": rises,
    "above": above,
    "min": min,
    "max": max,
    "len": len,
}
OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def evaluate_rule(text: str, metrics: Mapping[str, Any], where: str = "rule") -> bool:
    """Evaluate one rule: a restricted expression over dotted names of ``metrics``, nothing else.

    A comparison with a value that is missing (None) is false: what was not measured supports
    nothing.
    """
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError:
        raise UserError(
            f"cannot be parsed: {text}", file=where, field="rule", remedy="Mend claims.yaml."
        ) from None
    return bool(_value(tree, metrics, where))


def headline(
    rules: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The single numbers that the rules compare, by stage: what `dvc metrics show` prints."""
    found: dict[str, dict[str, Any]] = {}
    for rule in rules:
        for node in ast.walk(ast.parse(rule["rule"], mode="eval")):
            if isinstance(node, ast.Attribute):
                name = ast.unparse(node)
                value = _look_up(name, metrics, rule["id"])
                if isinstance(value, (int, float)):  # a truth value too
                    stage, _, entry = name.partition(".")
                    found.setdefault(stage, {})[entry] = value
    return found


def _value(node: ast.expr, metrics: Mapping[str, Any], where: str) -> Any:
    def value(child: ast.expr) -> Any:
        return _value(child, metrics, where)

    match node:
        case ast.Constant(value=int() | float() | bool() as constant):
            return constant
        case ast.Attribute() | ast.Name():
            return _look_up(ast.unparse(node), metrics, where)
        case ast.BoolOp(op=op, values=parts):
            return all(map(value, parts)) if isinstance(op, ast.And) else any(map(value, parts))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not value(operand)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](value(left), value(right))
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPERATORS:
            a, b = value(left), value(right)
            return a is not None and b is not None and OPERATORS[type(op)](a, b)
        case ast.Call(func=ast.Name(id=name), args=args) if name in FUNCTIONS:
            values = [value(arg) for arg in args]
            return None not in values and FUNCTIONS[name](*values)
    remedy = f"Use comparisons, and/or/not, arithmetic and {', '.join(FUNCTIONS)}."
    raise UserError(
        f"not allowed in a rule: {ast.unparse(node)}", file=where, field="rule", remedy=remedy
    )


def _look_up(name: str | None, metrics: Mapping[str, Any], where: str) -> Any:
    """``stage.entry.sub`` in the metrics; a name no stage wrote is a mistake in claims.yaml, not a
    verdict."""
    if name is None:
        return None
    value: Any = metrics
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            remedy = "Correct the name in claims.yaml, or run the stage that writes it."
            raise UserError(f"no stage wrote {name}", file=where, remedy=remedy)
        value = value[part]
    return value


def as_markdown(claims: Sequence[Claim], heading: str, notes: Sequence[str]) -> str:
    """The ledger as a readable page."""
    lines = [f"# {heading}", "", *(f"- {note}" for note in notes), ""]
    lines += [
        "| claim | published | ours, as published | ours, corrected | interval / control | "
        "verdict |"
    ]
    lines += ["|---|---|---|---|---|---|"]
    for c in claims:
        cells = (
            f"**{c.id}** {c.statement}",
            c.published,
            c.as_published,
            c.corrected,
            c.interval,
            f"**{c.verdict}**",
        )
        lines.append(
            "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"
        )
    lines += ["", "## How each verdict came about", ""]
    for c in claims:
        lines += [
            f"### {c.id}: {c.verdict}",
            "",
            f"- as published: {c.definition_published}",
            f"- corrected: {c.definition_corrected}",
            f"- control: {c.control}",
            f"- controls measured: {c.control_results}",
            f"- why: {c.why}",
            "",
        ]
    return "\n".join(lines)
