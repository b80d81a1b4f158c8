"""Provenance: the records of a real run, against hashlib, git and the files themselves; every kind
of damage is named."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from petriscope.claims.rules import read_rules
from petriscope.cli import main
from petriscope.errors import UserError
from petriscope.files import read_json, sha256, write_json
from petriscope.run.chain import Records, as_tree, covering, drawn_from, trace
from petriscope.run.provenance import (
    DIGESTS,
    Digests,
    combined,
    source_digest,
    source_revision,
    tool_version,
)
from petriscope.run.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[2]


def test_digests_are_hashlibs_and_remembered_until_the_file_changes(tmp_path):
    (tmp_path / "d" / "s").mkdir(parents=True)
    (tmp_path / "d" / "b.txt").write_bytes(b"b")
    (tmp_path / "d" / "s" / "a.txt").write_bytes(b"a")
    (tmp_path / "d" / "__pycache__").mkdir()
    (tmp_path / "d" / "__pycache__" / "x.pyc").write_bytes(b"x")
    digests = Digests(tmp_path)
    found = digests.files(tmp_path / "d")
    assert found == {
        "b.txt": hashlib.sha256(b"b").hexdigest(),
        "s/a.txt": hashlib.sha256(b"a").hexdigest(),
    }
    (tmp_path / "d" / "__pycache__" / "x.pyc").unlink()
    (tmp_path / "d" / "__pycache__").rmdir()
    assert combined(found) == sha256(tmp_path / "d") and combined({"": "f"}) == "f"
    digests.save()
    assert len(read_json(tmp_path / DIGESTS)) == 2
    (tmp_path / "d" / "b.txt").write_bytes(b"longer")
    assert Digests(tmp_path).files(tmp_path / "d" / "b.txt") == {
        "": hashlib.sha256(b"longer").hexdigest()
    }
    (tmp_path / DIGESTS).write_text("not json")
    assert Digests(tmp_path).files(tmp_path / "nothing") == {}


def test_revision_is_gits_and_unknown_outside(tmp_path, monkeypatch):
    head = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    if head.returncode == 0:
        assert head.stdout.startswith(source_revision().removesuffix("-dirty"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PETRISCOPE_REVISION", "from-the-image")
    source_revision.cache_clear()
    try:
        assert source_revision() == "from-the-image"
        monkeypatch.delenv("PETRISCOPE_REVISION")
        source_revision.cache_clear()
        assert source_revision() == "unknown"
        assert tool_version("no-such-program") is None
    finally:
        source_revision.cache_clear()
    assert len(source_digest()) == 64


def test_a_record_says_who_made_what_from_what(tiny_run):
    record = read_json(tiny_run.provenance("cds"))
    assert (
        record["command"] == "petriscope stage cds"
        and record["params_used"]["cds"]["permutations"] == 200
    )
    assert record["inputs"]["results/codes"]["sha256"] == sha256(tiny_run.codes)
    assert record["outputs"]["results/cds"]["sha256"] == sha256(tiny_run.table("cds"))
    layers = tiny_run.table("cds") / "layers.csv"
    assert (
        record["outputs"]["results/cds"]["files"]["layers.csv"]
        == hashlib.sha256(layers.read_bytes()).hexdigest()
    )
    assert (
        record["outputs"]["results/metrics/cds.json"]["bytes"]
        == tiny_run.metrics("cds").stat().st_size
    )
    raw = read_json(tiny_run.provenance("windows"))["inputs"]["data/tiny"]
    assert raw["files"]["genome.fa"] == sha256(tiny_run.root / "data/tiny/genome.fa")
    assert record["seconds"] > 0 and record["peak_memory_bytes"] > 1e7
    assert record["tools"]["bedtools"] == tool_version("bedtools")


def test_every_figure_table_claim_and_stage_leads_back_to_the_data(tiny_run):
    records = Records(tiny_run)
    targets = [
        *drawn_from(tiny_run),
        *(r["id"] for r in read_rules(tiny_run.claims_rules)),
        *records.stages,
    ]
    assert {"fig1_context_features", "table1_context_features", "ctx-count", "atlas"} <= set(
        targets
    )
    for target in targets:
        chain = trace(tiny_run, target, records)
        assert not chain.problems(), (target, chain.problems())
        raw = {
            read.path for step in chain.steps.values() for read in step.reads if read.kind == "raw"
        }
        assert "data/tiny" in raw, target
        assert len(chain.files) > 0 and all(source.sha256 for source in chain.files)


def test_a_chain_holds_only_what_the_figure_was_drawn_from(tiny_run):
    steps = trace(tiny_run, "fig3").steps
    assert set(steps) == {"figures", "sae", "activations", "model", "tracks", "windows"}
    claim = trace(tiny_run, "ctx-count")
    assert {"claims", "cds", "random_init"} <= set(claim.steps) and "motifs" not in claim.steps


def test_of_a_folder_and_a_file_in_it_each_has_its_own_entry():
    inputs = {"code/probe": {"sha256": "a"}, "code/probe/harvest.py": {"sha256": "b"}}
    assert covering(inputs, "code/probe/harvest.py")[1] == {"sha256": "b"}
    assert covering(inputs, "code/probe/model.py")[0] == "code/probe"
    assert covering(inputs, "code/probes") == ("", None)


def test_the_tree_names_commands_parameters_and_hashes(tiny_run, capsys, monkeypatch):
    text = as_tree(trace(tiny_run, "fig3"))
    layers = sha256(tiny_run.table("sae") / "quality.csv")[:12]
    assert "figure fig3_sae_quality" in text and f"results/sae/quality.csv  sha256 {layers}" in text
    assert (
        "`petriscope stage sae`" in text
        and "latents: 32" in text
        and "simulated with seed 20260" in text
    )
    assert text.count("stage tracks:") == 1 and "stage tracks (above)" in text
    assert text.rstrip().endswith("every file is as recorded, over 6 stages back to raw inputs")
    assert main(["provenance", "table2", "--json", "--workspace", str(tiny_run.root)]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["steps"]["sae"]["record"]["params"]["sae"]["k"] == 4 and values["problems"] == []


def test_damage_is_named(tiny_copy: Workspace, capsys):
    where = ["--workspace", str(tiny_copy.root)]
    table = tiny_copy.figures / "tables" / "table2_sae_quality.csv"
    table.write_text(table.read_text() + "0,9,9,9\n")
    assert main(["provenance", "table2", *where]) == 1
    assert "table2_sae_quality.csv changed after the record was written" in capsys.readouterr().out
    genome = tiny_copy.root / "data/tiny/genome.fa"
    genome.write_bytes(genome.read_bytes().replace(b"A", b"C", 1))
    (tiny_copy.root / "code/stages/sae.py").unlink()
    problems = {p.path: p for p in trace(tiny_copy, "fig3").problems()}
    assert (
        problems["data/tiny"].state == "changed"
        and "data/tiny/genome.fa changed" in problems["data/tiny"].detail
    )
    assert problems["code/stages/sae.py"].state == "missing"
    (tiny_copy.model / "model.safetensors").unlink()
    assert {p.path: p.state for p in trace(tiny_copy, "fig3").problems()}[
        "results/model"
    ] == "changed"


def test_an_input_made_anew_after_it_was_read_is_stale(tiny_copy: Workspace):
    record = read_json(tiny_copy.provenance("sae"))
    record["inputs"]["results/activations"]["sha256"] = "0" * 64
    write_json(tiny_copy.provenance("sae"), record)
    (found,) = trace(tiny_copy, "fig3").problems()
    assert found.state == "stale" and found.path == "results/activations"
    assert (
        "stage activations ran again, with another result, after stage sae had read it"
        in found.detail
    )
    tiny_copy.provenance("model").unlink()
    assert {p.path: p.state for p in trace(tiny_copy, "fig3").problems()}[
        "results/model"
    ] == "not recorded"
    tiny_copy.provenance("model").write_text("{")
    with pytest.raises(
        UserError, match=r"model.json: is not JSON. Run `petriscope stage model` again"
    ):
        trace(tiny_copy, "fig3")


def test_an_unknown_target_gets_the_nearest_names(tiny_run, capsys):
    assert main(["provenance", "ctx-coutn", "--workspace", str(tiny_run.root)]) == 2
    assert (
        "is no figure, table, claim, stage or output. Did you mean ctx-count"
        in capsys.readouterr().err
    )


def test_fig1_is_not_fig10_and_files_can_be_named(tiny_run):
    assert trace(tiny_run, "fig1").title == "figure fig1_context_features"
    assert (
        trace(tiny_run, "paper_figures/figures/fig10_recovery.png").title == "figure fig10_recovery"
    )
    chain = trace(tiny_run, "results/cds/layers.csv")
    assert [s.path for s in chain.files] == ["results/cds/layers.csv"] and not chain.problems()
    assert trace(tiny_run, str(tiny_run.table("cds"))).title == "file results/cds"


def test_records_hold_in_a_fresh_process_too(tiny_run):
    """The hash of the code and the memory of digests do not depend on who asks."""
    command = [
        sys.executable,
        "-m",
        "petriscope",
        "provenance",
        "model",
        "--workspace",
        str(tiny_run.root),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_empty_folder_that_a_stage_wrote_is_as_recorded(tiny_copy: Workspace) -> None:
    record = tiny_copy.provenance("sae")
    told = json.loads(record.read_text())
    told["outputs"]["results/plots/sae"] = {"bytes": 0, "sha256": None}
    record.write_text(json.dumps(told))
    shutil.rmtree(tiny_copy.root / "results/plots/sae")
    (tiny_copy.root / "results/plots/sae").mkdir()
    assert Records(tiny_copy).source("results/plots/sae").state == "as recorded"
    (tiny_copy.root / "results/plots/sae").rmdir()
    assert Records(tiny_copy).source("results/plots/sae").state == "missing"
