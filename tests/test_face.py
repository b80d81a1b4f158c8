"""The public face: every name leads somewhere, and importing the package loads nothing heavy."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import petriscope

HEAVY = ("torch", "numpy", "pandas", "scipy", "matplotlib", "textual", "dvc")


def test_import_loads_nothing_heavy():
    program = (
        "import sys, petriscope; names = dir(petriscope); "
        f"print([name for name in {HEAVY} if name in sys.modules], 'open' in names)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout == "[] True\n"


@pytest.mark.parametrize("name", petriscope.__all__)
def test_every_public_name_leads_somewhere_and_says_what_it_is(name):
    thing = getattr(petriscope, name)
    assert name == "__version__" or (callable(thing) and inspect.getdoc(thing))


def test_other_names_are_no_attributes():
    with pytest.raises(AttributeError, match="has no attribute 'harvset'"):
        _ = petriscope.harvset
    assert not hasattr(petriscope, "numpy")


def test_a_package_that_is_a_verb_can_be_called_and_keeps_its_modules(tmp_path, monkeypatch):
    package = tmp_path / "weigh"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from petriscope.verbs import make_callable\nmake_callable(__name__, 'weigh.body:weigh')\n"
    )
    (package / "body.py").write_text("def weigh(codes, unit='g'):\n    return f'{codes} {unit}'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import weigh

    assert "weigh.body" not in sys.modules
    assert weigh(3, unit="kg") == "3 kg" and weigh.body.weigh(2) == "2 g"
    assert str(inspect.signature(weigh)) == "(codes, unit='g')"
