"""The documentation against the program: pages parse, generated tables cover the code, named
functions exist.

The commands themselves are run by `docs/run_commands.py` in CI; here the runner is tried on pages
made for it.
"""

from __future__ import annotations

import argparse
import importlib.machinery
import importlib.util
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml

from petriscope.claims.rules import (
    checks_as_markdown,
    claim_checks,
    duration,
    read_rules,
    stages_of,
)
from petriscope.cli import VERBS, build_parser, main
from petriscope.run.graph import Graph, Out, Stage
from petriscope.run.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def script(name: str):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


commands, reference = script("run_commands"), script("generate")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_is_run_in_ci_or_says_why_not(page):
    run = re.findall(r"docs/([\w-]+\.md)", (REPOSITORY / ".ci/run").read_text())
    for block in commands.read_blocks(page):
        if block.language == "console":
            assert block.commands()
            assert page.name in run or block.mark[0] == "not run", (
                f"{page.name}:{block.line} is run nowhere"
            )


def test_every_page_is_in_the_menu_and_every_link_leads_somewhere():
    menu = set(re.findall(r"(?m)^([a-z][a-z-]+)$", (DOCS / "index.md").read_text()))
    assert {page.stem for page in PAGES} - {"index"} <= menu
    for page in [*PAGES, REPOSITORY / "README.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", commands.FENCE.sub("", page.read_text())):
            assert (page.parent / target).exists() or target.startswith("generated/"), (
                f"{page.name}: {target}"
            )


def options_of(verb: str) -> set[str]:
    """Every option that a verb or one of its sub-verbs takes."""
    verbs = next(
        a for a in build_parser(verb)._actions if isinstance(a, argparse._SubParsersAction)
    )
    waiting, found = [verbs.choices[verb]], set()
    while waiting:
        for action in waiting.pop()._actions:
            found |= set(action.option_strings)
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()
    return found


@pytest.mark.parametrize("page", [*PAGES, REPOSITORY / "README.md"], ids=lambda page: page.name)
def test_every_command_is_shell_and_names_a_verb_and_options_that_exist(page):
    """Also what is run nowhere (a GPU, an engine, a download): it cannot go stale in its form."""
    text = page.read_text()
    blocks = [
        match["body"]
        for match in commands.FENCE.finditer(text)
        if match["info"].split()[:1] == ["sh"]
    ]
    blocks += [
        c.text for b in commands.read_blocks(page) if b.language == "console" for c in b.commands()
    ]
    for block in blocks:
        parsed = subprocess.run(
            ["bash", "-n", "-c", block], capture_output=True, text=True, check=False
        )
        assert parsed.returncode == 0, f"{page.name}: {block}\n{parsed.stderr}"
    called = [*blocks, *re.findall(r"`(petriscope [^`\n]+)`", text)]
    for verb, rest in re.findall(
        r"\bpetriscope +([a-z]+)\b([^|;&#`\n]*)", "\n".join(called).replace("\\\n", " ")
    ):
        assert verb in VERBS, f"{page.name}: petriscope has no verb {verb}"
        unknown = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", rest)) - options_of(verb)
        assert not unknown, f"{page.name}: petriscope {verb} has no {', '.join(unknown)}"


def test_a_block_is_read_with_its_mark_commands_and_output(tmp_path):
    page = tmp_path / "p.md"
    page.write_text(
        "a\n\n<!-- exit: 2 -->\n```console\n$ one \\\n> two\nout\n\nmore\n$ three\n```\n\n"
        "<!-- file: x/y.yaml -->\n```yaml\na: 1\n```\n\n```console\noops\n```\n"
    )
    first, second, third = commands.read_blocks(page)
    assert first.commands() == [("one \\\ntwo", "out\n\nmore\n"), ("three", "")]
    assert (first.line, first.mark, second.mark) == (4, ("exit", "2"), ("file", "x/y.yaml"))
    with pytest.raises(ValueError, match=r"p.md:18: a console block starts with `\$ `"):
        third.commands()


@pytest.mark.parametrize(
    ("expected", "found", "same"),
    [
        ("a ... c", "a b c\n", True),
        ("...\nb", "x\ny\nb  \n", True),
        ("a", "a\nb", False),
        ("1.5", "125", False),
        ("a\nb", "a\n\nb", False),
    ],
)
def test_three_dots_stand_for_anything(expected, found, same):
    assert commands.matches(expected, found) is same


def test_the_runner_runs_in_order_and_stops_where_a_page_is_wrong(tmp_path):
    page = tmp_path / "p.md"
    page.write_text(
        "<!-- file: d/f.txt -->\n```text\nhello\n```\n```console\n$ cd d\n$ cat f.txt\nhello\n```\n"
        "<!-- exit: 3 -->\n```console\n$ pwd | grep -q /d$ && exit 3\n```\n<!-- not run: reason "
        "-->\n```console\n$ false\n```\n"
    )
    cwd = tmp_path
    for block in commands.read_blocks(page):
        cwd = commands.run_block(block, tmp_path, cwd)
    assert cwd == tmp_path / "d"
    for text, message in (
        ("$ false", "ended with 1, the page says 0"),
        ("$ echo a\nb", "the page says\nb"),
    ):
        page.write_text(f"```console\n{text}\n```\n")
        with pytest.raises(SystemExit, match=re.escape(message)):
            commands.run_block(commands.read_blocks(page)[0], tmp_path, cwd)


def test_the_scratch_copy_shares_results_but_not_what_is_edited(tmp_path):
    source = tmp_path / "source"
    for name in ("results/big.npy", "params.yaml", ".git/HEAD", "runs/x/y"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("1")
    target = tmp_path / "target"
    commands.scratch_copy(source, target)
    assert (target / "results/big.npy").samefile(source / "results/big.npy")
    assert not (target / "params.yaml").samefile(source / "params.yaml")
    assert not (target / "runs").exists()


def test_the_command_reference_shows_every_verb():
    page = reference.commands_page()
    for verb in VERBS:
        assert f"## petriscope {verb}\n" in page and f"usage: petriscope {verb}" in page
    assert "## petriscope data fragments" in page and "--set ENTRY=VALUE" in page


def test_the_readme_has_a_line_for_every_verb():
    table = re.findall(r"(?m)^\| `([a-z]+)", (REPOSITORY / "README.md").read_text())
    assert set(VERBS) <= set(table)


def test_every_figure_and_table_is_traced_to_functions_that_exist():
    drawn = reference.figures_drawn(Workspace(REPOSITORY))
    shipped = {path.stem for path in (REPOSITORY / "paper_figures").glob("*/*.png")}
    shipped |= {path.stem for path in (REPOSITORY / "paper_figures/tables").glob("*.csv")}
    assert len(shipped) >= 20 and shipped <= {item.name for item in drawn}
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    for item in drawn:
        assert item.reads, item.name
        assert reference.place(item.draws).startswith("src/petriscope/")
        for stage, _ in item.reads:
            assert any(f"results/{stage}" in str(out) for out in stages[stage]["outs"])
            functions = reference.computed_by(stage)
            assert functions, stage
            for where in functions:
                path, line = reference.place(where).split(":")
                text = (REPOSITORY / path).read_text().splitlines()
                assert where.split(":")[1] in "\n".join(text[int(line) - 1 : int(line) + 3])


def test_where_a_figure_comes_from_is_data_not_code(tmp_path, monkeypatch):
    """A drawing function chosen at run time, sources that only the record knows, and a stage module
    that has no source file."""
    workspace = Workspace(tmp_path)
    for folder, record in (("figures", {"fig_x": ["b/y.csv", "a/z.csv"]}), ("tables", {})):
        (workspace.figures / folder).mkdir(parents=True)
        (workspace.figures / folder / "sources.json").write_text(json.dumps(record))
    monkeypatch.setattr(reference, "DRAWN", {"fig_x": reference.place})
    monkeypatch.setattr(reference, "TABLES", {})
    (drawn,) = reference.figures_drawn(workspace)
    assert drawn.reads == (("b", "y.csv"), ("a", "z.csv")) and drawn.draws.endswith(":place")
    invented = types.ModuleType("petriscope.stages.invented")
    invented.__spec__ = importlib.machinery.ModuleSpec(invented.__name__, None)
    invented.count, invented.read = claim_checks, Path.read_text
    monkeypatch.setitem(sys.modules, invented.__name__, invented)
    assert reference.computed_by("invented") == ["petriscope.claims.rules:claim_checks"]


def test_messages_are_read_off_the_sources():
    found = reference.messages()
    assert len(found) > 100
    texts = {(message.what, message.remedy) for message in found}
    assert ("no stage …", "Stages: ….") in texts or (
        "does not exist yet",
        "Run `petriscope reproduce` first.",
    ) in texts
    assert all("\n" not in line for line in reference.messages_page().splitlines())


def test_the_cost_table_follows_its_formula():
    """By hand: 500 windows, 12 biosamples: 24.552 M tokens, 50.3 GB a site, 500 (27.3 + 92.4) s =
    16.6 h."""
    assert "| 500 | 12 | 24.6 M | 50 GB | 453 GB | 16.6 |" in reference.cost_table()


GRAPH = Graph(
    [
        Stage("figures", "f", deps=("results/b",)),
        Stage("a", "a", outs=(Out("results/a"),)),
        Stage("b", "b", deps=("results/a", "data"), outs=(Out("results/b"),)),
        Stage("c", "c", outs=(Out("results/c"),)),
        Stage("data.dvc", "", outs=(Out("data"),)),
    ]
)
RULE = {"id": "x", "statement": "S", "as_published": None, "corrected": "b.text", "interval": None}
RULE |= {"reason": None, "controls": [{"text": "t", "metrics": ["c.curve"]}]}


def test_a_claim_costs_its_stages_and_what_they_need():
    rule = {**RULE, "needs": ["b.testable"], "rule": "b.low > 0 and above(b.curve, c.curve)"}
    ledger = {"x": {"corrected": "4|2", "interval": "-", "verdict": "supported"}}
    (check,) = claim_checks(
        [rule], ledger, GRAPH.stage_needs(), {"a": 30.0, "b": 2.0, "c": 1.0, "figures": 100.0}
    )
    assert check.commands == ("petriscope stage c", "petriscope stage b")  # the graph's order
    assert (check.seconds, check.seconds_from_scratch, check.expected) == (3.0, 33.0, "4|2")
    assert (
        "| **x** S | `petriscope stage c`; `petriscope stage b` | 4/2 | supported | 3 s | 33 s |"
        in checks_as_markdown([check])
    )
    (fresh,) = claim_checks([rule], {}, GRAPH.stage_needs(), {"b": 2.0})
    assert (fresh.expected, fresh.verdict, fresh.seconds, fresh.seconds_from_scratch) == (
        "-",
        "-",
        None,
        None,
    )
    assert [duration(value) for value in (None, 99.4, 150)] == ["-", "99 s", "2.5 min"]


def test_every_shipped_claim_names_stages_that_exist(capsys):
    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    rules = read_rules(REPOSITORY / "claims.yaml")
    assert all(set(stages_of(rule)) <= set(stages) for rule in rules)
    assert main(["claims", "--how", "--workspace", str(REPOSITORY)]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [row.split("**")[1] for row in rows] == [rule["id"] for rule in rules]
    assert reference.claims_page(Workspace(REPOSITORY)).endswith("\n".join(rows) + "\n")


def test_the_miniature_is_what_its_page_describes(tmp_path):
    """BAM pairs carry the fragments they were made of: read back by our own reader, shifted as Tn5
    cuts are."""
    command = [sys.executable, str(REPOSITORY / "examples/miniature.py"), str(tmp_path / "mini")]
    subprocess.run(command, check=True, capture_output=True)
    block = next(b for b in commands.read_blocks(DOCS / "your-biosample.md") if b.mark[0] == "file")
    described = yaml.safe_load(block.body)
    files = {path.name for path in (tmp_path / "mini").iterdir()}
    assert {sample["signal"] for sample in described["biosamples"]} <= files
    assert sorted(sample["format"] for sample in described["biosamples"]).count("bam") == 2
