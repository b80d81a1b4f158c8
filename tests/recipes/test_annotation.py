"""The recipe of CONTRIBUTING.md for a kind of annotation, proven by the patch of a toy example: it
applies to a copy of the tree, touches at most six files, and label, filter and ledger know it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import warm

from petriscope.run.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[2]
PATCH = REPOSITORY / "tests" / "fixtures" / "recipes" / "annotation.patch"
ASK = """
import sys
from petriscope.atlas.query import Atlas
atlas = Atlas(sys.argv[1])
print(atlas.total, len(atlas.order("cpg:rich")), len(atlas.order("-cpg:rich")))
print([kind for (kind,) in atlas.select("SELECT DISTINCT kind FROM terms ORDER BY kind")])
"""
TESTS = """
import sys
import pandas as pd
from petriscope.claims.multiplicity import multiplicity
table = pd.read_csv(sys.argv[1])
print(multiplicity({"cpg/enrichment": table}, 0.05).stage.tolist())
"""


def touched() -> list[str]:
    lines = PATCH.read_text().splitlines()
    return [line.removeprefix("+++ b/") for line in lines if line.startswith("+++ b/")]


def test_a_kind_of_annotation_touches_at_most_six_files(tiny_copy: Workspace, tmp_path: Path):
    files = touched()
    assert len(files) <= 6 and len(set(files)) == len(files)
    tree = tmp_path / "tree"
    kept = shutil.ignore_patterns("__pycache__", ".git")
    for name in ("src", "tui", "docs"):
        shutil.copytree(REPOSITORY / name, tree / name, ignore=kept)
    for name in ("dvc.yaml", "params.yaml", "claims.yaml", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tree / name)
    environment = os.environ | {"PYTHONPATH": f"{tree / 'src'}{os.pathsep}{tree / 'tui'}"}

    def ran(*command: str | Path, cwd: Path = tree) -> str:
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=environment,
            capture_output=True,
            check=False,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # source rows are left out of the patch's context: the command below writes them
    ran("git", "apply", "--unidiff-zero", "--recount", PATCH)
    ran(sys.executable, "-m", "petriscope.run.contract", "--write")
    shutil.copy(tree / "dvc.yaml", tiny_copy.root / "dvc.yaml")
    for stage in ("cpg", "labels", "atlas"):
        done = warm.run(["stage", stage], cwd=tiny_copy.root, env=environment)
        assert done.returncode == 0, done.stderr
    enrichment = tiny_copy.table("cpg") / "enrichment.csv"
    features = pd.read_csv(enrichment).query("kind == 'feature'")
    labels = pd.read_csv(tiny_copy.table("labels") / "labels.csv").set_index("group")
    passing = features[(features.q <= 0.5) & (features.fold >= 1.2)].sort_values("ln_p")
    best = passing.drop_duplicates("group").set_index("group").name
    assert labels.cpg.dropna().to_dict() == best.to_dict() and len(best) < len(labels)
    asked = ran(sys.executable, "-c", ASK, tiny_copy.atlas)
    total, rich, others = map(int, asked.split()[:3])
    strong = features[(features.name == "rich") & (features.q < 0.5)]
    assert rich == len(strong) and rich + others == total
    assert "'cpg'" in asked
    assert "['cpg']" in ran(sys.executable, "-c", TESTS, enrichment)
