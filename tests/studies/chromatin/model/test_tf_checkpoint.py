"""TensorFlow checkpoints against one that TensorFlow wrote and its weights as arrays; CRC-32C
against RFC 3720."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from epibert_reference import SMALL, random_batch, random_weights
from tf_bundle_writer import crc32c as crc32c_by_bits
from tf_bundle_writer import write_checkpoint

from petriscope.errors import UserError
from petriscope.studies.chromatin.model import convert, tf_bundle
from petriscope.studies.chromatin.model.convert import convert_checkpoint, infer_config, read_config
from petriscope.studies.chromatin.model.epibert import EpiBERT, EpiBERTConfig, one_hot
from petriscope.studies.chromatin.model.tf_checkpoint import ObjectCheckpoint

WINDOW = {"output_length": 16}


@pytest.fixture(scope="module")
def released(shared: Path) -> Path:
    return shared / "golden" / "epibert_small_ckpt" / "ckpt-45"


@pytest.fixture
def copied(released: Path, tmp_path: Path) -> Path:
    for file in released.parent.glob("ckpt-45*"):
        shutil.copyfile(file, tmp_path / file.name)
    return tmp_path / "ckpt-45"


def small_checkpoint(
    prefix: Path, root: str = "model/", **options: object
) -> dict[str, np.ndarray]:
    """A checkpoint of random weights under ``root``; returns them by path below the model."""
    weights = random_weights(SMALL)
    write_checkpoint(prefix, {root + path: array for path, array in weights.items()}, **options)
    return weights


def damage(file: Path, at: int) -> None:
    data = bytearray(file.read_bytes())
    data[at] ^= 0x10
    file.write_bytes(data)


def test_crc32c_known_answers_and_lengths() -> None:
    # RFC 3720 B.4.
    assert tf_bundle.crc32c(b"123456789") == 0xE3069283
    assert tf_bundle.crc32c(bytes(32)) == 0x8A9136AA
    assert tf_bundle.crc32c(b"\xff" * 32) == 0x62A8AB43
    assert tf_bundle.crc32c(bytes(range(32))) == 0x46DD794E
    assert tf_bundle.crc32c(b"") == 0
    rng = np.random.default_rng(0)
    for length in (1, 63, 64, 65, 127, 128, 129, 4000, 20_000):
        data = rng.bytes(length)
        assert tf_bundle.crc32c(data) == crc32c_by_bits(data)
        assert tf_bundle.crc32c(
            data[length // 3 :], tf_bundle.crc32c(data[: length // 3])
        ) == crc32c_by_bits(data)


def test_crc32c_spans_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).integers(0, 256, 10_001, dtype=np.uint8)
    monkeypatch.setattr(tf_bundle, "_SEGMENT", 1024)
    assert tf_bundle.crc32c(data) == crc32c_by_bits(data.tobytes())


def test_every_variable_is_bit_for_bit_what_tensorflow_wrote(released: Path, shared: Path) -> None:
    checkpoint = ObjectCheckpoint(released)
    with np.load(shared / "golden" / "epibert_small.npz") as file:
        weights = {
            key.removeprefix("weight/model/"): file[key]
            for key in file.files
            if key.startswith("weight/")
        }
    assert set(checkpoint.variables()) == set(weights)
    for path, array in weights.items():
        found = checkpoint.array(path)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, array, err_msg=path)
    kernel = "performer/layers/0/self_attention/query_dense_layer/kernel"
    assert checkpoint.entry_key(kernel) == checkpoint.entry_key(
        kernel.replace("/kernel", "/_kernel")
    )


def test_every_checksum_of_the_released_format_holds(released: Path) -> None:
    bundle = ObjectCheckpoint(released).bundle
    for key in bundle.entries:
        bundle.verify(key)
    assert len(bundle.entries) > 122


def test_the_converted_model_has_the_originals_output(
    released: Path, shared: Path, tmp_path: Path
) -> None:
    with np.load(shared / "golden" / "epibert_small.npz") as file:
        arrays = {key: file[key] for key in file.files if not key.startswith("act/")}
    original = json.loads(str(arrays["config_json"]))
    given = tmp_path / "config.yaml"
    given.write_text(yaml.safe_dump(original))
    for out, options in (
        (tmp_path / "told.safetensors", read_config(given)),
        (tmp_path / "inferred.safetensors", None),
    ):
        report = convert_checkpoint(released, out, options)
        model = EpiBERT.from_safetensors(out)
        batch = (
            one_hot(arrays["input/sequence_index"]),
            *(torch.from_numpy(arrays[f"input/{k}"]) for k in ("atac", "motif")),
        )
        with torch.no_grad():
            found = model(*batch).numpy()
        assert np.linalg.norm(found - arrays["output"]) / np.linalg.norm(arrays["output"]) < 3e-6
        assert report.variables == 122
        assert report.parameters == sum(
            a.size for key, a in arrays.items() if key.startswith("weight/")
        )
        assert model.config == report.config
        if options is not None:
            wanted = EpiBERTConfig.from_original(original)
            assert report.config == wanted
            assert report.notes == ()
        else:
            assert any("seed 19" in note for note in report.notes)


@pytest.mark.parametrize(
    ("root", "options"),
    [
        ("model/", {}),
        ("", {}),
        ("model/", {"opaque": True}),
        ("", {"opaque": True, "shards": 3}),
        ("model/", {"shards": 2}),
    ],
    ids=["model", "root is the model", "opaque keys", "opaque, three files", "two files"],
)
def test_other_roots_keys_and_files_convert(
    tmp_path: Path, root: str, options: dict[str, object]
) -> None:
    weights = small_checkpoint(tmp_path / "ckpt", root, **options)
    out = tmp_path / "out.safetensors"
    report = convert_checkpoint(tmp_path / "ckpt", out, WINDOW)
    assert report.config == replace(SMALL, random_features=256)
    wanted = EpiBERT(report.config).load_original(weights).state_dict()
    torch.testing.assert_close(EpiBERT.from_safetensors(out).state_dict(), wanted, rtol=0, atol=0)


def test_a_folder_an_index_and_a_saved_model_name_their_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "saved" / "variables").mkdir(parents=True)
    small_checkpoint(tmp_path / "saved" / "variables" / "variables", "")
    out = tmp_path / "out.safetensors"
    for name in ("saved", "saved/variables", "saved/variables/variables.index"):
        assert convert_checkpoint(tmp_path / name, out, WINDOW).variables > 0
    with pytest.raises(UserError, match=r"holds 0 checkpoints \(none\). Give the prefix of one"):
        convert_checkpoint(tmp_path, out)


def test_kernels_found_under_their_other_name_and_other_precisions(tmp_path: Path) -> None:
    weights = random_weights(SMALL)
    aliases = {f"model/{p}": f"model/{p[:-6]}_kernel" for p in weights if "self_attention" in p}
    stored = {f"model/{path}": array for path, array in weights.items()}
    stored["model/stem_conv/bias"] = (weights["stem_conv/bias"].view(np.uint32) >> 16).astype(
        np.uint16
    )
    stored["model/stem_conv/kernel"] = weights["stem_conv/kernel"].astype(np.float16)
    write_checkpoint(tmp_path / "ckpt", stored, aliases=aliases)
    report = convert_checkpoint(tmp_path / "ckpt", tmp_path / "out.safetensors", WINDOW)
    model = EpiBERT.from_safetensors(tmp_path / "out.safetensors")
    kernel = weights["stem_conv/kernel"].astype(np.float16).astype(np.float32).transpose(2, 1, 0)
    np.testing.assert_array_equal(model.sequence.stem.weight.detach(), kernel)
    np.testing.assert_allclose(
        model.sequence.stem.bias.detach(), weights["stem_conv/bias"], rtol=2**-7
    )
    assert "weights stored in other than float32 were cast to it" in report.notes


def test_damage_is_named_by_variable_and_checksum(copied: Path) -> None:
    data = copied.with_name("ckpt-45.data-00000-of-00001")
    entry = ObjectCheckpoint(copied).bundle.entries[
        "model/stem_conv/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    ]
    damage(data, entry.offset + 5)
    out = copied.with_name("out.safetensors")
    with pytest.raises(
        UserError,
        match=rf"model/stem_conv/kernel.*is damaged: checksum \w+, not the stored "
        rf"{entry.checksum:08x}",
    ):
        convert_checkpoint(copied, out)
    assert not out.exists()


def test_damage_outside_the_weights_is_found_too(copied: Path) -> None:
    entry = ObjectCheckpoint(copied).bundle.entries[
        "optimizer/_variables/99/.ATTRIBUTES/VARIABLE_VALUE"
    ]
    damage(copied.with_name("ckpt-45.data-00000-of-00001"), entry.offset)
    with pytest.raises(UserError, match=r"optimizer/_variables/99.*is damaged"):
        convert_checkpoint(copied, copied.with_name("out.safetensors"))


def test_truncated_data_is_named_by_variable(copied: Path) -> None:
    data = copied.with_name("ckpt-45.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:900_000])
    with pytest.raises(
        UserError,
        match=r"_CHECKPOINTABLE_OBJECT_GRAPH: ends at byte \d+, the file at 900000: truncated",
    ):
        convert_checkpoint(copied, copied.with_name("out.safetensors"))
    small_checkpoint(copied.with_name("two"), shards=2)
    second = copied.with_name("two.data-00001-of-00002")
    second.write_bytes(second.read_bytes()[:-3])
    with pytest.raises(
        UserError, match=r"model/.*VARIABLE_VALUE: ends at byte .* truncated \(stored checksum"
    ):
        convert_checkpoint(copied.with_name("two"), copied.with_name("out.safetensors"), WINDOW)


@pytest.mark.parametrize("at", [100, 10_000, 19_840, -60, -48])
def test_a_damaged_index_is_refused(copied: Path, at: int) -> None:
    damage(copied.with_name("ckpt-45.index"), at)
    with pytest.raises(
        UserError, match=r"ckpt-45\.index: (is damaged|is truncated|has no object graph)"
    ):
        convert_checkpoint(copied, copied.with_name("out.safetensors"))


@pytest.mark.parametrize("length", [0, 30, 10_000, 19_900])
def test_a_truncated_index_is_refused(copied: Path, length: int) -> None:
    index = copied.with_name("ckpt-45.index")
    index.write_bytes(index.read_bytes()[:length])
    with pytest.raises(UserError, match=r"ckpt-45\.index: is truncated or no checkpoint index"):
        convert_checkpoint(copied, copied.with_name("out.safetensors"))


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.index: cannot be read"):
        convert_checkpoint(tmp_path / "none", tmp_path / "out")
    small_checkpoint(tmp_path / "ckpt", shards=2)
    (tmp_path / "ckpt.data-00001-of-00002").unlink()
    with pytest.raises(UserError, match=r"ckpt\.data-00001-of-00002: is missing beside the index"):
        convert_checkpoint(tmp_path / "ckpt", tmp_path / "out")


def test_compressed_blocks_are_refused(tmp_path: Path) -> None:
    small_checkpoint(tmp_path / "ckpt", compression=1)
    with pytest.raises(UserError, match="holds a block of compression type 1"):
        convert_checkpoint(tmp_path / "ckpt", tmp_path / "out")


def test_a_fine_tuned_model_is_refused_by_its_heads(tmp_path: Path) -> None:
    weights = {f"model/{path}": array for path, array in random_weights(SMALL).items()}
    weights["model/final_dense_profile_rna/kernel"] = np.zeros((2, 1), dtype=np.float32)
    weights["model/final_pointwise_conv_rna/layer_with_weights-1/kernel"] = np.zeros(
        (1, 16, 2), dtype=np.float32
    )
    write_checkpoint(tmp_path / "ckpt", weights)
    with pytest.raises(
        UserError,
        match=r"fine-tuned \(RAMPAGE\) model: it has final_dense_profile_rna and final_pointwise",
    ):
        convert_checkpoint(tmp_path / "ckpt", tmp_path / "out", WINDOW)


def test_missing_and_foreign_variables_are_named(tmp_path: Path) -> None:
    weights = {f"model/{path}": array for path, array in random_weights(SMALL).items()}
    gone = "model/performer/layers/1/FFN/FFN_dense_wide/bias"
    write_checkpoint(
        tmp_path / "gone", {path: array for path, array in weights.items() if path != gone}
    )
    with pytest.raises(
        UserError,
        match=r"lacks 1 of the model's .* variables: performer/layers/1/FFN/FFN_dense_wide/bias",
    ):
        convert_checkpoint(tmp_path / "gone", tmp_path / "out", WINDOW)
    write_checkpoint(
        tmp_path / "more", weights | {"model/adapter/kernel": np.zeros((2, 2), dtype=np.float32)}
    )
    with pytest.raises(UserError, match="has 1 variables that EpiBERT has not: adapter/kernel"):
        convert_checkpoint(tmp_path / "more", tmp_path / "out", WINDOW)
    write_checkpoint(tmp_path / "other", {"model/dense/kernel": np.zeros((2, 2), dtype=np.float32)})
    with pytest.raises(
        UserError, match="pre_transformer_projection/kernel: is missing, so this is not"
    ):
        convert_checkpoint(tmp_path / "other", tmp_path / "out", WINDOW)


def test_a_misshapen_variable_is_named(tmp_path: Path) -> None:
    weights = {f"model/{path}": array for path, array in random_weights(SMALL).items()}
    weights["model/performer/layers/1/layer_norm/beta"] = np.zeros(17, dtype=np.float32)
    write_checkpoint(tmp_path / "ckpt", weights)
    with pytest.raises(
        UserError, match=r"performer/layers/1/layer_norm/beta: shape \(17,\) .* needs \(16,\)"
    ):
        convert_checkpoint(tmp_path / "ckpt", tmp_path / "out", WINDOW)


def test_heads_that_contradict_the_configuration_are_refused(
    released: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match="num_heads: the configuration says 8, the shapes of the checkpoint 4"
    ):
        convert_checkpoint(released, tmp_path / "out", {"heads": 8})


def test_a_released_size_model_with_four_heads_needs_its_seed(tmp_path: Path) -> None:
    small_checkpoint(tmp_path / "ckpt")
    # The same rule at a size that fits a test: as if the released model were SMALL with eight
    # heads.
    released = replace(SMALL, heads=8, head_dim=0)
    checkpoint = ObjectCheckpoint(tmp_path / "ckpt")
    with pytest.raises(
        UserError,
        match=r"has 2 heads, the released models 8: seed 19 would be wrong\. Give the seed",
    ):
        infer_config(checkpoint, WINDOW, released=released)
    assert infer_config(checkpoint, WINDOW | {"seed": 21}, released=released).config.seed == 21


def test_configuration_files_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("num_heads: 4\nseed: 21\nfilter_list_atac: [4, 8]\n")
    assert read_config(file) == {"heads": 4, "seed": 21, "atac_filters": [4, 8]}
    file.write_text("num_head: 4\n")
    with pytest.raises(
        UserError, match=r"num_head: is no hyper-parameter of EpiBERT\. Did you mean num_heads\?"
    ):
        read_config(file)
    for text, message in (("- 1\n", "holds no name: value lines"), ("a: [", "is not YAML")):
        file.write_text(text)
        with pytest.raises(UserError, match=message):
            read_config(file)
    with pytest.raises(UserError, match="cannot be read"):
        read_config(tmp_path / "absent.yaml")


def test_the_command_converts_and_says_what_it_assumed(
    released: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    parser = argparse.ArgumentParser()
    convert.add_arguments(parser)
    out = tmp_path / "out.safetensors"
    assert convert.run(parser.parse_args([str(released), str(out)])) == 0
    printed = capsys.readouterr().out
    assert "122 variables, 183,501 numbers; 203 other tensors verified" in printed
    assert "seed 19 of the random projection is assumed" in printed
    assert EpiBERT.from_safetensors(out).n_layers == 3


def test_a_converted_small_model_runs(tmp_path: Path) -> None:
    small_checkpoint(tmp_path / "ckpt")
    convert_checkpoint(tmp_path / "ckpt", tmp_path / "out.safetensors", WINDOW)
    batch = random_batch(SMALL, 1, 2)
    with torch.no_grad():
        assert EpiBERT.from_safetensors(tmp_path / "out.safetensors").run(
            batch
        ).prediction.shape == (2, 12, 1)
