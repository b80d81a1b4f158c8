"""The data-set description: the bundled one fits the real files; each mistake is named with field
and remedy (PyYAML)."""

from __future__ import annotations

import pytest
import yaml

from petriscope.errors import UserError
from petriscope.studies.chromatin.data.dataset import load_dataset


@pytest.fixture
def folder(tmp_path):
    for name in ("g.fa", "s.bedgraph", "genes.bed", "m.meme", "go.gmt"):
        (tmp_path / name).write_text("x\n")
    description = {
        "format": 1,
        "name": "tiny",
        "genome": {"build": "b", "fasta": ["g.fa"]},
        "lineages": ["blood"],
        "biosamples": [
            {
                "id": "a",
                "lineage": "blood",
                "context": "in_vitro",
                "signal": "s.bedgraph",
                "format": "bedgraph",
            },
            {
                "id": "b",
                "lineage": "blood",
                "context": "in_vivo",
                "signal": "s.bedgraph",
                "format": "bedgraph",
            },
        ],
        "annotation": {
            "genes": "genes.bed",
            "genesets": {"GO": "go.gmt"},
            "motifs": {"file": "m.meme", "format": "meme"},
        },
    }
    return tmp_path, description


def _load(folder):
    path, description = folder
    (path / "dataset.yaml").write_text(yaml.safe_dump(description))
    return load_dataset(path)


def test_a_description_is_read_and_says_what_it_cannot_support(folder):
    dataset = _load(folder)
    assert dataset.biosample_table().biosample.tolist() == ["a", "b"]
    assert dataset.untestable() == [
        "blood in_vitro has one biosample: no biosample-level test for blood",
        "blood in_vivo has one biosample: no biosample-level test for blood",
        "no planted truth: recovery of planted elements cannot be scored",
    ]
    assert load_dataset(folder[0] / "dataset.yaml") == dataset


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: d["biosamples"][0].update(context="vitro"),
            r"biosamples\[0\].context: is 'vitro'. Did you mean in_vitro",
        ),
        (
            lambda d: d["biosamples"][1].update(lineage="gut"),
            r"biosamples\[1\].lineage: is 'gut'. Lineages: blood",
        ),
        (lambda d: d["biosamples"][1].update(id="a"), r"biosamples\[1\].id: 'a' appears twice"),
        (
            lambda d: d["biosamples"][0].update(signal="no.bw"),
            r"biosamples\[0\].signal: names .*no.bw, which does not exist",
        ),
        (
            lambda d: d["biosamples"][0].update(library_share=2),
            r"biosamples\[0\].library_share: is 2",
        ),
        (lambda d: d["genome"].update(fasta="g.fa"), r"genome.fasta: must be a list"),
        (lambda d: d.pop("annotation"), r"annotation: is missing"),
        (lambda d: d.update(format=2), r"format: is 2. This version reads format 1"),
        (lambda d: d.update(biosamples=[]), r"biosamples: is empty"),
    ],
)
def test_mistakes_are_named(folder, change, message):
    change(folder[1])
    with pytest.raises(UserError, match=message):
        _load(folder)


def test_no_folder_no_description_no_yaml(tmp_path):
    with pytest.raises(UserError, match="no such data set"):
        load_dataset(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no dataset\.yaml"):
        load_dataset(tmp_path)
    (tmp_path / "dataset.yaml").write_text("a: [1\n")
    with pytest.raises(UserError, match="not valid YAML"):
        load_dataset(tmp_path)


def test_the_bundled_description_fits_the_real_files(shared):
    for path in (shared / "data", shared / "data" / "real"):
        dataset = load_dataset(path)
        assert dataset.name == "real" and len(dataset.biosamples) == 7
        assert [n for n in dataset.untestable() if "lymph in_vivo" in n] == []
