"""Reference: what was done to the folder by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from web_reader import features

from petriscope.atlas.build import AtlasTables, build_atlas
from petriscope.atlas.schema import Thresholds
from petriscope.cli import main
from petriscope.errors import UserError
from petriscope.web.export import MANIFEST, export_atlas
from petriscope.web.verify import verify_web


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build_atlas(tmp_path / "a.sqlite", AtlasTables(features(), Thresholds(0.05, 0.7)))
    export_atlas(tmp_path / "a.sqlite", tmp_path / "web", assets=False)
    return tmp_path / "web"


def test_a_whole_folder_passes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = sum(path.is_file() for path in folder.rglob("*"))
    assert verify_web(folder) == (there - 1, [])
    assert main(["atlas", "verify", str(folder)]) == 0
    assert f"{there - 1} files are as they were written" in capsys.readouterr().out


def test_every_flipped_byte_is_found(folder: Path) -> None:
    path = folder / "data" / "home.js"
    whole = path.read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 2):
        bad = bytearray(whole)
        bad[place] ^= 1
        path.write_bytes(bytes(bad))
        (problem,) = verify_web(folder)[1]
        assert problem.startswith("data/home.js: was changed")


def test_missing_short_and_foreign_files_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "data" / "f" / "0.js").unlink()
    flags = folder / "data" / "flags.js"
    flags.write_bytes(flags.read_bytes()[:-1])
    (folder / "data" / "extra.js").write_text("P()")
    (folder / ".hidden").write_text("")
    assert main(["atlas", "verify", str(folder)]) == 1
    told = capsys.readouterr().out.splitlines()
    starts = (
        "data/f/0.js: is missing",
        "data/flags.js: has ",
        ".hidden: is none",
        "data/extra.js:",
    )
    for line, start in zip(sorted(told[:-1]), sorted(starts)):
        assert line.startswith(start)
    assert told[-1].startswith("Problems: 4,")


def test_what_is_no_web_atlas_is_told(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="is no web atlas"):
        verify_web(tmp_path / "nowhere")
    manifest = folder / MANIFEST
    told = json.loads(manifest.read_text())
    for files in ({}, {"../x": {"size": 1, "sha256": "0" * 64}}, {"x": {"size": 1}}, {"x": 3}, []):
        manifest.write_text(json.dumps({**told, "files": files}))
        with pytest.raises(UserError, match=r"manifest\.json"):
            verify_web(folder)
    manifest.write_text("{")
    with pytest.raises(UserError):
        verify_web(folder)
