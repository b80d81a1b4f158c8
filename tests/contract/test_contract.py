"""dvc.yaml against the code and against a run: every stage declares the sources it imports, the
parameters it reads, the files it opens and writes, and nothing else.

Reference: the import statements and attribute chains of the sources, and what the kernel and a
recording `Params` saw while each stage ran on the tiny data set.
"""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path, PurePosixPath

import pytest
from params_read import Chains, Schema

from petriscope.run.contract import (
    ROOT,
    imported,
    imports_of,
    main,
    source,
    stage_modules,
    with_code_rows,
)
from petriscope.run.graph import Stage, load_graph, load_yaml
from petriscope.run.params_edit import preview
from petriscope.run.snapshot import PACKAGE
from petriscope.run.studies import find_study, study_names
from petriscope.studies.chromatin.study import STUDY

REPOSITORY = Path(__file__).resolve().parents[2]
GRAPH = load_graph(REPOSITORY)
SCHEMAS = {name: Schema(find_study(name)) for name in study_names()}
SCHEMA = SCHEMAS[STUDY.name]
EVERY = [
    pytest.param(schema, stage, id=f"{name}-{stage.name}")
    for name, schema in SCHEMAS.items()
    for stage in load_graph(REPOSITORY / schema.study.folder).stages.values()
    if not stage.is_data
]
SETTINGS = {"params.yaml", "dvc.yaml"}
"""Files whose entries, not bytes, are declared."""

of_every_study = pytest.mark.parametrize(("schema", "stage"), EVERY)


def covers(declared: str, read: str) -> bool:
    """Whether an entry of params.yaml, or a path, is the other or holds it."""
    return declared == read or read.startswith((f"{declared}.", f"{declared}/"))


def uncovered(read: set[str] | frozenset[str], declared: list[str]) -> list[str]:
    return sorted(one for one in read if not any(covers(entry, one) for entry in declared))


def declared_params(stage: Stage) -> list[str]:
    return [key for _, keys in stage.params for key in keys]


@pytest.mark.parametrize("study", SCHEMAS)
def test_code_rows_are_what_the_command_writes(study: str):
    path = REPOSITORY / SCHEMAS[study].study.folder / "dvc.yaml"
    assert with_code_rows(path) == path.read_text(), (
        f"run: python -m petriscope.run.contract {path.relative_to(REPOSITORY)} --write"
    )


@of_every_study
def test_declared_code_holds_everything_the_stage_imports(schema: Schema, stage: Stage):
    """File by file of the import closure, whatever the command makes of it."""
    study, root = schema.study, REPOSITORY / schema.study.folder
    modules = stage_modules(study, stage.name)
    files = {source(name) for name in modules if source(name).name != "__init__.py"}
    declared = [Path(os.path.normpath(root / dep)).as_posix() for dep in stage.deps]
    assert source(study.stage(stage.name)) in files
    assert not uncovered({file.as_posix() for file in files}, declared)
    public_face = [name for name in modules if ROOT in imported(name)]
    assert not public_face, "imports names from the package's root, which the closure leaves out"
    code = [dep for dep in declared if Path(dep).is_relative_to(PACKAGE)]
    every = {source(name) for name in modules}
    unused = [dep for dep in code if not any(f.is_relative_to(dep) for f in every)]
    assert not unused, "declared, but not imported"


@of_every_study
def test_declared_params_are_those_the_code_can_read(schema: Schema, stage: Stage):
    declared, can_read = declared_params(stage), schema.reads(stage.name)
    assert not uncovered(can_read, declared), "read but not declared"
    for entry in declared:
        read = [one for one in can_read if covers(entry, one) or covers(one, entry)]
        assert read, f"{entry} is declared, nothing reads it"
        below = {leaf for leaf in schema.leaves if covers(entry, leaf)}
        whole = entry in can_read or not uncovered(below, read)
        assert whole, f"{entry} is declared whole, only {', '.join(sorted(read))} is read"


@of_every_study
def test_params_read_in_a_run_are_declared(schema: Schema, stage: Stage, traced_tiny_runs):
    read = traced_tiny_runs(schema.study.name)[1][stage.name].params
    assert not uncovered(read, declared_params(stage))
    assert not uncovered(read, sorted(schema.reads(stage.name))), (
        "read in the run, not found in the code: the reader of the code misses a path"
    )


@of_every_study
def test_files_opened_in_a_run_are_declared(schema: Schema, stage: Stage, traced_tiny_runs):
    run, traces = traced_tiny_runs(schema.study.name)
    opened = traces[stage.name].opened
    deps = list(load_graph(run.root).stages[stage.name].deps)
    parents = {str(above) for dep in deps for above in PurePosixPath(dep).parents}
    assert not uncovered(opened - SETTINGS - parents, deps), "read but not declared"
    data = [dep for dep in deps if not dep.startswith("code/")]
    unread = [dep for dep in data if not any(covers(dep, one) for one in opened)]
    assert not unread, "declared, but the stage does not open it"


@of_every_study
def test_files_written_in_a_run_are_declared(schema: Schema, stage: Stage, traced_tiny_runs):
    run, traces = traced_tiny_runs(schema.study.name)
    written = traces[stage.name].written
    outs = [out.path for out in load_graph(run.root).stages[stage.name].outs]
    assert not uncovered(written, outs), "written but not declared"
    assert all(any(covers(out, one) for one in written) for out in outs), outs


@pytest.mark.parametrize(
    ("section", "before", "after", "stages"),
    [
        (
            "ablation",
            "layer: middle",
            "layer: 1",
            {"ablation", "chromhmm", "motifs", "genesets", "figures"},
        ),
        ("ablation", "mask_fold: 0.15", "mask_fold: 0.2", {"ablation", "steering", "leaderboard"}),
        ("steering", "layer: middle", "layer: 1", {"steering", "leaderboard"}),
        ("windows", "crop: 2", "crop: 3", {"model", "motifs"}),
    ],
)  # fmt: skip
def test_a_change_reaches_the_stages_that_read_it(section, before, after, stages):
    """By hand. The ledger must not mix two layers, nor two shares of masked bins."""
    text = (REPOSITORY / "params.yaml").read_text()
    head, start, tail = text.partition(f"\n{section}:\n")
    edit = preview(
        text, head + start + tail.replace(before, after, 1), GRAPH, REPOSITORY / "params.yaml"
    )
    assert edit.problem is None and set(edit.direct) == stages
    assert {"claims", "atlas", "figures"} <= set(edit.invalidated)


def test_imports_inside_functions_and_of_packages_count_and_those_for_types_do_not():
    text = (
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nimport numpy\n"
        "if TYPE_CHECKING:\n    from petriscope.cli import main\nelse:\n    import petriscope.errors\n"
        "def f():\n    from petriscope import files\n    from petriscope.run.params import Params\n"
    )
    assert imports_of(ast.parse(text), STUDY.stage("tracks")) == {
        "petriscope.errors", "petriscope.files", "petriscope.run.params",
    }  # fmt: skip
    relative = ast.parse(
        "from . import tracks\nfrom ..errors import UserError\nfrom .tracks import run"
    )
    module = STUDY.stage("windows")
    assert imports_of(relative, module) == {
        STUDY.stage("tracks"), f"{module.rsplit('.', 2)[0]}.errors",
    }  # fmt: skip


def test_the_command_writes_what_is_missing_and_leaves_the_rest(tmp_path, monkeypatch, capsys):
    shipped = (REPOSITORY / "dvc.yaml").read_text()
    path = tmp_path / "dvc.yaml"
    (tmp_path / "params.yaml").write_text("study: chromatin\n")
    path.write_text(shipped.replace('"${code}/files.py", ', "", 3).replace("claims.yaml, ", ""))
    monkeypatch.setattr(sys, "argv", ["contract", str(path)])
    assert main() == 1 and "Write them with --write" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["contract", str(path), "--write"])
    assert main() == 0 and main() == 0
    restored = load_yaml(path)["stages"]
    for name, stage in load_yaml(REPOSITORY / "dvc.yaml")["stages"].items():
        stage["deps"] = [dep for dep in stage["deps"] if dep != "claims.yaml"]
        assert restored[name] == stage


def test_chains_are_followed_through_local_names_and_sections_handed_on():
    module = STUDY.stage("windows")
    text = (
        "def run(workspace, params: Params):\n"
        "    data, asked = load(params.dataset), params.windows\n"
        "    sae = params.sae\n"
        "    train(sae, asked.crop, params.sae.seeds[0])\n"
        "    return [params.cds.alpha for _ in asked.split.__dict__], lambda: params.digest()\n"
    )
    assert Chains(SCHEMA, module, ast.parse(text)).found == {
        "dataset", "windows.crop", "windows.split", "sae", "sae.seeds", "cds.alpha",
    }  # fmt: skip
