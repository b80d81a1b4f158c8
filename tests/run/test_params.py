"""Parameters: the shipped file loads; each kind of mistake is named with entry and remedy (PyYAML
as the parser)."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from petriscope.errors import UserError
from petriscope.run.params import load_params, parse_params

SHIPPED = Path(__file__).resolve().parents[2] / "params.yaml"


@pytest.fixture
def raw() -> dict:
    return yaml.safe_load(SHIPPED.read_text())


def test_the_shipped_file_loads_and_its_digest_follows_every_value(raw):
    params = load_params(SHIPPED)
    assert params.sae.k == raw["sae"]["k"]
    raw["sae"]["k"] += 1
    assert parse_params(raw).digest() != params.digest()


@pytest.mark.parametrize(
    ("section", "entry", "value", "message"),
    [
        ("cds", "alhpa", 0.05, r"cds.alhpa: is not a parameter. Did you mean cds.alpha\?"),
        ("cds", "alpha", 0.9, r"cds.alpha: is 0.9, out of range. Allowed: from 1e-06 to 0.5"),
        ("cds", "alpha", "small", r"cds.alpha: is 'small', not float"),
        (
            "windows",
            "length",
            1000 * 128 + 1,
            r"windows.length: is 128001, not a multiple of 128 bp. Use 128000 or 128128",
        ),
        ("windows", "crop", 64, r"windows.crop: is 64, which leaves no bin"),
        ("sae", "k", 192, r"sae.k: is 192, not below sae.latents 192"),
        (
            "sae",
            "variant",
            "gated",
            r"sae.variant: is 'gated'. Use one of: batchtopk, topk, relu_l1",
        ),
        ("sae", "seeds", [-1], r"sae.seeds\[0\]: is -1, out of range"),
        ("ablation", "layer", "late", r"ablation.layer: is 'late'. Use `middle` or a layer number"),
    ],
)
def test_mistakes_are_named(raw, section, entry, value, message):
    raw[section][entry] = value
    with pytest.raises(UserError, match=message):
        parse_params(raw)


def test_a_missing_entry_and_a_missing_file_are_named(raw, tmp_path):
    del raw["sae"]["gate"]["fvu"]
    with pytest.raises(UserError, match=r"sae.gate.fvu: is missing"):
        parse_params(raw)
    with pytest.raises(UserError, match=r"params.yaml: does not exist"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("seed: [1\n")
    with pytest.raises(UserError, match=r"not valid YAML"):
        load_params(tmp_path / "params.yaml")


def test_split_shares_must_add_up(raw):
    raw["windows"]["split"]["test"] = 0.5
    with pytest.raises(UserError, match=r"windows.split: adds up to 1.35"):
        parse_params(raw)
