"""Every public name is documented in numpydoc, and its example runs.

Examples go on from the notebook: `run`, `hidden`, `sae`, `codes`, `design`, `score`, `toward` are
those of its lines.
"""

from __future__ import annotations

import doctest
import inspect
import sys

import pytest

import petriscope as ps

PUBLIC = [name for name in ps.__all__ if name != "__version__"]
GIVEN = ("ps", "run", "hidden", "sae", "codes", "design", "score", "toward")
MODULES = ("contrast", "enrich", "probe")


def documented(name: str):
    """The object behind a public name; a package that is a verb is its function."""
    thing = getattr(ps, name)
    return thing.__wrapped__ if name in MODULES else thing


def examples(name: str) -> list[doctest.DocTest]:
    thing = documented(name)
    module = vars(sys.modules[thing.__module__])
    finder = doctest.DocTestFinder(exclude_empty=True)
    return [test for test in finder.find(thing, name, globs=dict(module)) if test.examples]


def test_there_are_few_of_them():
    assert 20 <= len(PUBLIC) <= 30


@pytest.mark.parametrize("name", PUBLIC)
def test_says_what_it_takes_and_returns(name):
    doc = inspect.getdoc(documented(name)) or ""
    needed = ["Examples\n--------"]
    if inspect.isfunction(documented(name)):
        needed += [f"{head}\n{'-' * len(head)}" for head in ("Parameters", "Returns", "Raises")]
    assert [head for head in needed if head not in doc] == []
    assert "+SKIP" not in doc


@pytest.mark.parametrize("name", PUBLIC)
def test_its_examples_run(name, notebook, capsys):
    tests = examples(name)
    assert tests
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in tests:
        test.globs |= {given: notebook[given] for given in GIVEN}
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0, capsys.readouterr().out
