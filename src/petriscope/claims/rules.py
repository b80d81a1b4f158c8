"""The claims ledger sets the published value beside our value as published and our corrected value,
gives a verdict by a frozen rule, and says how each claim is checked: the command, what to expect,
how long it took where it last ran."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from petriscope.claims import NOT_SUPPORTED, SUPPORTED, UNTESTABLE
from petriscope.claims.texts import MISSING, known, render
from petriscope.claims.texts import names as text_names
from petriscope.errors import UserError
from petriscope.textfile import read_text

TEXTS = ("as_published", "corrected", "interval")
FIELDS = (
    *("id", "source", "statement", "published", "definition_published", "definition_corrected"),
    *(
        "as_published",
        "corrected",
        "interval",
        "needs",
        "reason",
        "controls",
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
    import yaml  # the atlas reads its words here, and needs no more

    path = Path(path)
    entries = yaml.safe_load(read_text(path))["claims"]
    for i, entry in enumerate(entries):
        wrong = [name for name in FIELDS if name not in entry] + [
            name for name in entry if name not in FIELDS
        ]
        if wrong:
            remedy = f"An entry has exactly: {', '.join(FIELDS)}."
            raise UserError(
                "is missing or unknown", file=path, field=f"claims[{i}].{wrong[0]}", remedy=remedy
            )
        decides = {*names(entry["rule"], f"{path}: {entry['id']}"), *entry["needs"]}
        for j, control in enumerate(entry["controls"]):
            field = f"claims[{i}].controls[{j}]"
            if not set(control) - {"text"} <= {"metrics", "printed"} or len(control) < 2:
                remedy = "A control has text, and metrics that decide or what is printed, or both."
                raise UserError("is not a control", file=path, field=field, remedy=remedy)
            ignored = [name for name in control.get("metrics", []) if name not in decides]
            if ignored:
                remedy = "Use it in the rule, or list what is merely printed under `printed`."
                raise UserError(
                    f"names {ignored[0]}, which neither rule nor needs reads",
                    file=path,
                    field=f"{field}.metrics",
                    remedy=remedy,
                )
    return entries


def names(rule: str, where: str = "rule") -> list[str]:
    """The dotted names that a rule reads, in the order of its text."""

    def inside(node: ast.AST) -> Iterator[str]:
        match node:
            case ast.Attribute() | ast.Name():
                yield ast.unparse(node)
            case ast.Call(args=args):
                for arg in args:
                    yield from inside(arg)
            case _:
                for child in ast.iter_child_nodes(node):
                    yield from inside(child)

    return list(dict.fromkeys(inside(_parse(rule, where))))


def stages_of(entry: Mapping[str, Any]) -> list[str]:
    """Stages whose metrics an entry of claims.yaml reads: for its rule first, then for its
    words."""
    printed = [text for control in entry["controls"] for text in control.get("printed", [])]
    words = [entry[name] for name in (*TEXTS, "reason") if entry[name] is not None]
    said = [name for text in (*printed, *words) if text not in TEXTS for name in text_names(text)]
    read = [*names(entry["rule"]), *entry["needs"], *said]
    return list(dict.fromkeys(name.partition(".")[0] for name in read))


def control_words(entry: Mapping[str, Any]) -> str:
    """The controls in words: those that decide, then those that are merely printed."""
    decide = [control["text"] for control in entry["controls"] if control.get("metrics")]
    others = [control["text"] for control in entry["controls"] if not control.get("metrics")]
    printed = [f"printed only: {', '.join(others)}"] if others else []
    return "; ".join([*decide, *printed]) or "-"


def evaluate(
    rules: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any], source: str = "claims.yaml"
) -> list[Claim]:
    """Hold each rule against the stages' metrics (stage name → its metrics)."""
    claims = []
    for rule in rules:
        where = f"{source}: {rule['id']}"
        reasons = [_why_not(need, metrics, where) for need in rule["needs"]]
        missing = list(dict.fromkeys(reason for reason in reasons if reason is not None))
        if missing:
            verdict = UNTESTABLE
            why = str(_look_up(rule["reason"], metrics, where) or "; ".join(missing))
        else:
            holds = evaluate_rule(rule["rule"], metrics, where)
            verdict = SUPPORTED if holds else NOT_SUPPORTED
            why = f"{rule['rule']} is {'true' if holds else 'false'}"
        shown = ("as_published",) if missing else TEXTS
        texts = dict.fromkeys(TEXTS, MISSING) | {
            name: render(rule[name], metrics, where, name)
            for name in shown
            if rule[name] is not None
        }
        said_already = {*TEXTS, *(rule[name] for name in TEXTS)}
        found = [
            render(text, metrics, where, f"controls[{i}].printed")
            for i, control in enumerate(rule["controls"])
            for text in control.get("printed", [])
            if text not in said_already
        ]
        texts["control_results"] = "; ".join(x for x in found if x != MISSING) or MISSING
        texts["control"] = control_words(rule)
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


def lowest(values: Sequence[float], keys: Sequence[float], limit: float) -> float | None:
    """The lowest of the values whose key is below ``limit``; infinite where there is none, None
    where one was not measured."""
    chosen = _below(values, keys, limit)
    return None if chosen is None else min(chosen, default=math.inf)


def highest(values: Sequence[float], keys: Sequence[float], limit: float) -> float | None:
    """As `lowest`, the highest; minus infinity where there is none."""
    chosen = _below(values, keys, limit)
    return None if chosen is None else max(chosen, default=-math.inf)


def _below(values: Sequence[float], keys: Sequence[float], limit: float) -> list[float] | None:
    if None in keys:
        return None
    chosen = [value for value, key in zip(values, keys, strict=True) if key < limit]
    return None if None in chosen else chosen


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "rises": rises,
    "above": above,
    "min": min,
    "max": max,
    "len": len,
    "lowest": lowest,
    "highest": highest,
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

    Whatever is computed from a value that is missing (None) is missing, and a comparison with it is
    false: what was not measured supports nothing.
    """
    return bool(_value(_parse(text, where), metrics, where))


def _parse(text: str, where: str) -> ast.expr:
    try:
        return ast.parse(text, mode="eval").body
    except SyntaxError:
        remedy = "Write comparisons of metrics, joined by and, or, not."
        raise UserError(
            f"cannot be parsed: {text}", file=where, field="rule", remedy=remedy
        ) from None


def sentence(
    rules: Sequence[Mapping[str, Any]],
    stage: str,
    metrics_of: Callable[[str], Mapping[str, Any] | None],
) -> str:
    """What the ledger says a stage measured: the first text that begins with a number of that
    stage, what is printed as a control first; empty where there is none, or it was not measured.

    ``metrics_of`` gives a stage's metrics by its name; None where it has not run.
    """
    printed = [text for rule in rules for c in rule["controls"] for text in c.get("printed", [])]
    corrected = [rule["corrected"] for rule in rules if rule["corrected"] is not None]
    for text in (*printed, *corrected):
        asked = list(dict.fromkeys(name.partition(".")[0] for name in text_names(text)))
        if asked[:1] != [stage]:
            continue
        found = {name: metrics_of(name) for name in asked}
        if all(value is not None for value in found.values()):
            said = render(text, found)
            if said != MISSING:
                return said
    return ""


def headline(
    rules: Sequence[Mapping[str, Any]], metrics: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The single numbers that the rules compare, by stage: what `dvc metrics show` prints."""
    found: dict[str, dict[str, Any]] = {}
    for rule in rules:
        for name in names(rule["rule"], rule["id"]):
            value = _look_up(name, metrics, rule["id"])
            if isinstance(value, (int, float)):  # a truth value too
                stage, _, entry = name.partition(".")
                found.setdefault(stage, {})[entry] = value
    return found


def intervals(
    entry: Mapping[str, Any], metrics: Mapping[str, Any], where: str = "claims.yaml"
) -> dict[str, list[float]]:
    """Every interval that an entry of the ledger prints or decides by: name → [low, high].

    An interval is a pair of metrics `X_low` and `X_high`, of one stage or inside one of its
    entries; one that was not measured, or is not a pair of numbers, is left out.
    """
    texts = [entry["interval"]] if entry["interval"] is not None else []
    read = [*names(entry["rule"], where), *(name for text in texts for name in text_names(text))]
    found: dict[str, list[float]] = {}
    for name in dict.fromkeys(read):
        stem = name.removesuffix("_low").removesuffix("_high")
        if stem != name:
            parent, _, last = stem.rpartition(".")
            holder = _look_up(parent, metrics, where)
            found |= _pairs(parent, holder, only=last) if isinstance(holder, Mapping) else {}
        else:
            found |= _pairs(name, _look_up(name, metrics, where))
    return found


def _pairs(name: str, value: Any, only: str | None = None) -> dict[str, list[float]]:
    """The intervals in ``value``, a mapping or a list of mappings; of one stem, where it is
    given."""
    if isinstance(value, Mapping):
        stems = [key.removesuffix("_low") for key in value if key.endswith("_low")]
        ends = {stem: (value[f"{stem}_low"], value.get(f"{stem}_high")) for stem in stems}
        return {
            f"{name}.{stem}": [float(low), float(high)]
            for stem, (low, high) in ends.items()
            if only in (None, stem) and _finite(low) and _finite(high)
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        inside = [_pairs(f"{name}[{i}]", item) for i, item in enumerate(value)]
        return {key: pair for found in inside for key, pair in found.items()}
    return {}


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


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
            inner = value(operand)
            return None if inner is None else not inner
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = value(operand)
            return None if inner is None else -inner
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            a, b = value(left), value(right)
            return None if a is None or b is None else OPERATORS[type(op)](a, b)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in OPERATORS:
            a, b = value(left), value(right)
            return a is not None and b is not None and OPERATORS[type(op)](a, b)
        case ast.Call(func=ast.Name(id=name), args=args) if name in FUNCTIONS:
            values = [value(arg) for arg in args]
            return None if None in values else FUNCTIONS[name](*values)
    remedy = f"Use comparisons, and/or/not, arithmetic and {', '.join(FUNCTIONS)}."
    raise UserError(
        f"not allowed in a rule: {ast.unparse(node)}", file=where, field="rule", remedy=remedy
    )


def _look_up(name: str | None, metrics: Mapping[str, Any], where: str) -> Any:
    """``stage.entry.sub`` in the metrics; a name no stage wrote is a mistake in claims.yaml, not a
    verdict."""
    return None if name is None else known(name, metrics, where)


def _why_not(need: str, metrics: Mapping[str, Any], where: str) -> str | None:
    """Why what a claim needs cannot be had: what a stage wrote as ``untestable``, or a value that
    does not hold; None where nothing is in the way."""
    found = _look_up(need, metrics, where)
    if isinstance(found, Mapping):
        return _look_up(f"{need}.untestable", metrics, where)
    return None if found else f"{need} does not hold"


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


def checks_as_markdown(checks: Sequence[Check]) -> str:
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
