"""A name that a user wrote is one of the known ones, or it is refused with the nearest of them.

Nothing is matched by prefix, by part or by case: a near miss is a question to the user, never an
answer.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from os import PathLike

from petriscope.errors import UserError

LISTED = 12
"""So many known names are listed where none is near."""


def did_you_mean(name: object, known: Iterable[object], *, kind: str = "Known") -> str:
    """A remedy in words: the nearest known name, else the known names themselves.

    Examples
    --------
    >>> did_you_mean("bloood", ["blood", "liver"])
    'Did you mean blood?'
    >>> did_you_mean("skin", ["blood", "liver"], kind="Lineages")
    'Lineages: blood, liver.'
    """
    names = [str(one) for one in known]
    lowered = {one.lower(): one for one in reversed(names)}
    close = difflib.get_close_matches(str(name).lower(), lowered, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {lowered[close[0]]}?"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{kind}: {', '.join(names[:LISTED])}{more}."


def exactly(
    name: object,
    known: Iterable[object],
    *,
    file: str | PathLike[str] | None = None,
    field: str | None = None,
    kind: str = "Known",
) -> str:
    """``name`` where it is one of ``known``, letter by letter.

    Raises
    ------
    UserError
        For any other name, with the nearest known one.

    Examples
    --------
    >>> exactly("blood", ["blood", "liver"])
    'blood'
    >>> exactly("Blood", ["blood", "liver"], file="dataset.yaml", field="lineage")
    Traceback (most recent call last):
    petriscope.errors.UserError: dataset.yaml: lineage: is 'Blood'. Did you mean blood?
    """
    names = [str(one) for one in known]
    if str(name) not in names:
        remedy = did_you_mean(name, names, kind=kind)
        raise UserError(f"is {str(name)!r}", file=file, field=field, remedy=remedy)
    return str(name)


def chromosomes_meant(seen: Iterable[str], known: Iterable[str]) -> str:
    """A remedy for chromosome names of which none is known: the known name that is the same
    chromosome in another habit, else what to do.

    Examples
    --------
    >>> chromosomes_meant(["1", "MT"], ["chr1", "chrM"])
    'Did you mean chr1 for 1?'
    >>> chromosomes_meant(["NC_000001.11"], ["chr1"])
    "Rename the chromosomes or use a file of the data set's genome build."
    """
    names = sorted(known)
    for name in sorted(seen):
        bare = name.removeprefix("chr")
        for other in (f"chr{name}", bare, f"chr{bare}", *_MITOCHONDRIA.get(bare, ())):
            if other != name and other in names:
                return f"Did you mean {other} for {name}?"
        same = [one for one in names if one.lower() == name.lower()]
        if same:
            return f"Did you mean {same[0]} for {name}?"
    return "Rename the chromosomes or use a file of the data set's genome build."


_MITOCHONDRIA = {"MT": ("chrM", "M"), "M": ("chrMT", "MT")}
