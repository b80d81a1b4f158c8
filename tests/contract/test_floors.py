"""Who may import whom: the spine imports no study, and no two packages import each other, directly
or round about.

Reference: the import statements of the sources, those inside functions included.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import pytest

from petriscope.run.contract import ROOT, imported
from petriscope.run.snapshot import PACKAGE

ABOVE = {"studies", "commands", "cli", "__main__", ROOT}
"""What may import a study; all else is the spine."""
LINKS = {
    (module, name)
    for path in PACKAGE.rglob("*.py")
    for module in [
        ".".join([ROOT, *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
    ]
    for name in imported(module)
}


def package(module: str) -> str:
    """`contrast` of petriscope.contrast.cds; a study is a package of its own."""
    parts = module.split(".")
    if parts[1:2] == ["studies"]:
        return ".".join(parts[1:3])
    return parts[1] if len(parts) > 1 else ROOT


def circles(links: Iterable[tuple[str, str]]) -> Iterator[tuple[str, ...]]:
    """Sets of packages each of which leads to each other one."""
    nearest: dict[str, set[str]] = {}
    for a, b in links:
        if a != b:
            nearest.setdefault(a, set()).add(b)
    reached = {name: set(reach(name, nearest)) for name in nearest}
    found = {
        tuple(sorted({a, *(b for b in there if a in reached.get(b, ()))}))
        for a, there in reached.items()
        if a in there
    }
    yield from sorted(found)


def reach(start: str, nearest: Mapping[str, set[str]]) -> Iterator[str]:
    waiting, seen = list(nearest.get(start, ())), set()
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            yield name
            waiting += nearest.get(name, ())


def test_the_spine_imports_no_study():
    wrong = [
        f"{a} imports {b}"
        for a, b in sorted(LINKS)
        if package(b).startswith("studies.") and package(a).split(".")[0] not in ABOVE
    ]
    assert not wrong


def test_no_study_imports_another():
    pairs = {(package(a), package(b)) for a, b in LINKS}
    both = [(a, b) for a, b in pairs if a.startswith("studies.") and b.startswith("studies.")]
    assert not [(a, b) for a, b in both if a != b]


def test_no_packages_import_each_other():
    links = {(package(a), package(b)) for a, b in LINKS}
    links = {(a, b) for a, b in links if ROOT not in (a, b)}  # the root loads the rest on first use
    found = [
        [f"{a} -> {b}" for a, b in sorted(LINKS) if {package(a), package(b)} <= set(ring)
         and package(a) != package(b)]
        for ring in circles(links)
    ]  # fmt: skip
    assert not found


@pytest.mark.parametrize(
    ("links", "found"),
    [
        ([("a", "b"), ("b", "c")], []),
        ([("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")], [("a", "b", "c")]),
        ([("a", "a"), ("x", "y"), ("y", "x")], [("x", "y")]),
    ],
)
def test_circles_are_found(links, found):
    assert list(circles(links)) == found
