"""EpiBERT against the original TensorFlow model (parity fixture) and, in other shapes, a float64
numpy model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from epibert_reference import SMALL, NumpyEpiBERT, random_batch, random_weights
from torch import Tensor, nn

from petriscope.errors import UserError
from petriscope.studies.chromatin.model import epibert_layers
from petriscope.studies.chromatin.model.base import Batch
from petriscope.studies.chromatin.model.epibert import EpiBERT, EpiBERTConfig, one_hot
from petriscope.studies.chromatin.model.epibert_layers import philox4x32, projection_matrix
from petriscope.studies.chromatin.model.epibert_original import original_places


class Golden(NamedTuple):
    """The fixture: arrays, the model that carries its weights, its inputs."""

    arrays: dict[str, np.ndarray]
    model: EpiBERT
    batch: Batch


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    with np.load(shared / "golden" / "epibert_small.npz") as file:
        arrays = {key: file[key] for key in file.files}
    config = EpiBERTConfig.from_original(json.loads(str(arrays["config_json"])))
    model = EpiBERT(config).load_original(arrays)
    sequence = one_hot(arrays["input/sequence_index"])
    batch = Batch(
        sequence, torch.from_numpy(arrays["input/atac"]), torch.from_numpy(arrays["input/motif"])
    )
    return Golden(arrays, model, batch)


def relative(found: Tensor | np.ndarray, wanted: np.ndarray) -> float:
    """Relative Frobenius error."""
    found = found.detach().float().numpy() if isinstance(found, Tensor) else found
    assert found.shape == wanted.shape
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


def test_every_hidden_state_and_the_output_match_the_original(golden: Golden) -> None:
    with torch.no_grad():
        found = golden.model.run(golden.batch, capture=range(4))
    assert list(found.hidden) == [0, 1, 2, 3]
    for layer, hidden in found.hidden.items():
        assert relative(hidden, golden.arrays[f"act/hidden_{layer}"]) < 3e-6
    assert relative(found.prediction, golden.arrays["output"]) < 3e-6


def test_an_edit_and_a_resumed_edit_match_the_original(golden: Golden) -> None:
    layer, delta = int(golden.arrays["edit/layer"]), torch.from_numpy(golden.arrays["edit/delta"])
    edits = {layer: lambda hidden: hidden + delta}
    with torch.no_grad():
        plain = golden.model.run(golden.batch, capture=[layer])
        edited = golden.model.run(golden.batch, capture=[layer, 3], edits=edits)
        resumed = golden.model.run(
            None, capture=[3], edits=edits, resume=(layer, plain.hidden[layer])
        )
    assert relative(edited.hidden[3], golden.arrays["edit/hidden_last"]) < 3e-6
    assert relative(edited.prediction, golden.arrays["edit/output"]) < 3e-6
    torch.testing.assert_close(edited.hidden[layer], plain.hidden[layer] + delta, rtol=0, atol=0)
    torch.testing.assert_close(resumed.prediction, edited.prediction, rtol=0, atol=0)
    torch.testing.assert_close(resumed.hidden[3], edited.hidden[3], rtol=0, atol=0)


def test_every_intermediate_matches_the_original(golden: Golden) -> None:
    model, arrays = golden.model, golden.arrays
    channels_first: dict[str, nn.Module] = {"stem_pool": model.sequence.stem_pool}
    channels_first |= {f"conv_tower_{i}": pool for i, pool in enumerate(model.sequence.pools)}
    channels_last: dict[str, nn.Module] = {
        "conv_tower_atac_1": model.atac,
        "motif_fc2": model.motif,
    }
    channels_last |= {"hidden_0": model.projection, "performer_out": model.final_norm}
    for i, block in enumerate(model.blocks):
        channels_last |= {f"layer_{i}_ln": block.norm, f"layer_{i}_attn_out": block.attention}
    seen: dict[str, Tensor] = {}
    handles = []
    for modules, transpose in ((channels_first, True), (channels_last, False)):
        for name, module in modules.items():

            def keep(
                _m: nn.Module,
                _x: object,
                out: Tensor,
                name: str = name,
                transpose: bool = transpose,
            ) -> None:
                seen[name] = out.transpose(1, 2) if transpose else out

            handles.append(module.register_forward_hook(keep))

    def keep_input(_m: nn.Module, x: tuple[Tensor, ...], _out: Tensor) -> None:
        seen["concat"] = x[0]

    def keep_pointwise(_m: nn.Module, _x: object, out: Tensor) -> None:
        seen["final_pointwise"] = out.transpose(1, 2)

    handles += [model.projection.register_forward_hook(keep_input)]
    handles += [model.head.block.register_forward_hook(keep_pointwise)]
    handles += [
        model.head.register_forward_hook(lambda _m, _x, out: seen.update(profile_uncropped=out))
    ]
    with torch.no_grad():
        model.run(golden.batch)
    for handle in handles:
        handle.remove()
    assert len(seen) == 1 + 6 + 4 + 6 + 3
    assert {
        name: error
        for name in seen
        if (error := relative(seen[name], arrays[f"act/{name}"])) > 3e-6
    } == {}


def test_kernel_features_match_the_original(golden: Golden) -> None:
    model, attention = golden.model, golden.model.blocks[0].attention
    x = torch.from_numpy(golden.arrays["act/layer_0_ln"])
    kept: list[Tensor] = []
    features = attention.features
    attention.features = lambda *args: kept.append(features(*args)) or kept[-1]
    try:
        with torch.no_grad():
            attention(x, model.feature_map, model._rotary(x))
    finally:
        del attention.features
    for name, found in zip(("q", "k"), kept):
        assert (
            relative(found.permute(2, 0, 1, 3), golden.arrays[f"act/layer_0_{name}_prime"]) < 3e-6
        )


def test_gradients_point_where_the_originals_do(golden: Golden) -> None:
    atac = golden.batch.atac.clone().requires_grad_()
    golden.model(golden.batch.sequence, atac, golden.batch.motif).mean().backward()
    assert atac.grad is not None
    found, wanted = atac.grad.flatten(), torch.from_numpy(golden.arrays["grad/atac"]).flatten()
    assert torch.cosine_similarity(found, wanted, dim=0) > 0.999


def test_bfloat16_is_as_far_from_single_precision_as_the_originals_own(golden: Golden) -> None:
    model = EpiBERT(golden.model.config).load_original(golden.arrays).to(torch.bfloat16)
    with torch.no_grad():
        found = model.run(golden.batch, capture=range(4))
    for layer, hidden in found.hidden.items():
        assert hidden.dtype == torch.bfloat16
        assert relative(hidden, golden.arrays[f"act/hidden_{layer}"]) < 2e-2
        assert relative(hidden, golden.arrays[f"bf16/hidden_{layer}"]) < 2e-2


def test_projections_match_the_original(shared: Path, golden: Golden) -> None:
    with np.load(shared / "golden" / "epibert_projections.npz") as file:
        matrices = {key: file[key] for key in file.files}
    for key, matrix in matrices.items():
        seed = int(key.split("_")[0].removeprefix("seed"))
        assert relative(projection_matrix(*matrix.shape, seed), matrix) < 3e-6
    assert relative(projection_matrix(256, 16, 19), golden.arrays["projection_matrix"]) < 1e-6


@pytest.mark.parametrize(("features", "dim"), [(256, 24), (256, 100), (256, 300), (40, 7)])
def test_projection_rows_are_orthogonal_in_blocks_with_gaussian_lengths(
    features: int, dim: int
) -> None:
    matrix = projection_matrix(features, dim, 19).astype(np.float64)
    lengths = np.linalg.norm(matrix, axis=1)
    for start in range(0, features, dim):
        rows = matrix[start : start + dim] / lengths[start : start + dim, None]
        np.testing.assert_allclose(rows @ rows.T, np.eye(len(rows)), atol=1e-6)
    assert abs((lengths**2).mean() / dim - 1) < 5 * np.sqrt(2 / dim / features)


def test_the_rows_that_remain_are_a_block_of_their_own_seed() -> None:
    # 40 rows of width 7: five full blocks, then 5 rows of a sixth drawn from (seed + 5, 5).
    from petriscope.studies.chromatin.model.epibert_layers import stateless_normal

    block, _ = np.linalg.qr(stateless_normal((7, 7), (24, 5)).astype(np.float64))
    lengths = np.linalg.norm(stateless_normal((40, 7), (19 + 5 + 4, 6)), axis=1)
    np.testing.assert_allclose(
        projection_matrix(40, 7, 19)[35:], lengths[35:, None] * block.T[:5], rtol=1e-5, atol=1e-6
    )


def test_philox_known_answers() -> None:
    # Random123's kat_vectors, philox4x32 10.
    ones = 0xFFFFFFFF
    counter = np.array(
        [[0] * 4, [ones] * 4, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]], dtype=np.uint32
    )
    keys = [(0, 0), (ones, ones), (0xA4093822, 0x299F31D0)]
    answers = [
        [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ]
    for row, key, answer in zip(counter, keys, answers):
        assert philox4x32(row[None], key)[0].tolist() == answer


def numpy_model(config: EpiBERTConfig, weights: dict[str, np.ndarray]) -> NumpyEpiBERT:
    projection = projection_matrix(config.random_features, config.head_dim, config.seed)
    return NumpyEpiBERT(
        weights,
        projection,
        layers=config.layers,
        crop=config.crop,
        rotary=config.rotary,
        stem_pool=config.atac_stem_pool,
    )


def test_the_numpy_model_is_the_original(golden: Golden) -> None:
    weights = {
        k.removeprefix("weight/model/"): v
        for k, v in golden.arrays.items()
        if k.startswith("weight/")
    }
    found = numpy_model(golden.model.config, weights).run(
        *(np.asarray(x, dtype=np.float64) for x in golden.batch)
    )
    assert relative(found.prediction, golden.arrays["output"]) < 3e-6


OTHERS = {
    "head of 6, remainder": {
        "heads": 4,
        "sequence_filters": (8, 8, 10, 12, 12, 24),
        "random_features": 256,
    },
    "head of 22, no crop": {
        "heads": 1,
        "sequence_filters": (4, 6, 8, 10, 12, 22),
        "final_output_length": 16,
    },
    "head wider than the features": {"heads": 1, "random_features": 7},
    "odd crop, no final norm": {"final_output_length": 9, "final_norm": False},
    "None crop, odd head without rotary": {
        "final_output_length": None,
        "rotary": False,
        "heads": 16,
    },
    "other depth and motifs": {
        "layers": 3,
        "num_motifs": 5,
        "motif_units_fc": 20,
        "final_point_scale": 3,
        "seed": 7,
    },
    "long window": {"input_length": 8192, "output_length": 64, "final_output_length": 58},
    "64-bp tokens": {
        "sequence_filters": (8, 8, 10, 12, 16),
        "atac_filters": (4,),
        "atac_stem_pool": 4,
        "output_length": 32,
        "final_output_length": 28,
    },
}


@pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())
def test_other_configurations_match_the_numpy_model(change: dict[str, object]) -> None:
    config = replace(SMALL, **({"d_model": 0, "head_dim": 0} | change))
    weights, batch = random_weights(config), random_batch(config, 2, 1)
    with torch.no_grad():
        found = EpiBERT(config).load_original(weights).run(batch, capture=range(config.layers + 1))
    wanted = numpy_model(config, weights).run(*(np.asarray(x, dtype=np.float64) for x in batch))
    for layer, hidden in found.hidden.items():
        assert relative(hidden, wanted.hidden[layer]) < 3e-6
    assert relative(found.prediction, wanted.prediction) < 3e-6
    assert found.prediction.shape == (2, config.output_length - 2 * config.crop, 1)


@pytest.mark.parametrize(("final", "tokens"), [(16, 16), (15, 16), (12, 12), (9, 10), (None, 16)])
def test_crops_take_the_lower_half_from_either_side(final: int | None, tokens: int) -> None:
    config = replace(SMALL, final_output_length=final)
    with torch.no_grad():
        assert EpiBERT(config).eval().run(random_batch(config, 1, 1)).prediction.shape == (
            1,
            tokens,
            1,
        )


def test_long_sequences_are_computed_in_chunks_to_the_same_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, batch = EpiBERT(SMALL).eval(), random_batch(SMALL, 2, 1)
    with torch.no_grad():
        whole = model.sequence_features(batch.sequence)
        monkeypatch.setattr(epibert_layers, "CHUNK", 96)
        chunked = model.sequence_features(batch.sequence)
    torch.testing.assert_close(chunked, whole, rtol=1e-5, atol=1e-6)


def test_one_sequence_serves_its_consecutive_biosamples() -> None:
    model, batch = EpiBERT(SMALL).eval(), random_batch(SMALL, 2, 3)
    with torch.no_grad():
        naive = model.run(
            batch._replace(sequence=batch.sequence.repeat_interleave(3, dim=0)), capture=[0, 2]
        )
        shared = model.run(batch, capture=[0, 2])
        features = model.sequence_features(batch.sequence)
        handed = model.run(
            batch._replace(sequence=None), capture=[0, 2], sequence_features=features
        )
    for found in (shared, handed):
        torch.testing.assert_close(found.prediction, naive.prediction, rtol=1e-5, atol=1e-6)
        for layer in (0, 2):
            torch.testing.assert_close(
                found.hidden[layer], naive.hidden[layer], rtol=1e-5, atol=1e-5
            )


def test_fresh_weights_follow_the_seed_and_differ_between_query_key_and_value() -> None:
    first, same, other = (EpiBERT(SMALL, init_seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], same[name]) for name in first)
    assert not torch.equal(first["projection.weight"], other["projection.weight"])
    attention = EpiBERT(SMALL).blocks[0].attention
    assert not torch.equal(attention.query.weight, attention.key.weight)
    assert not torch.equal(attention.key.weight, attention.value.weight)
    bound = (6 / (16 + 16)) ** 0.5  # Glorot, uniform
    assert 0.9 * bound < attention.query.weight.abs().max() <= bound


def test_training_reaches_every_parameter_and_the_running_statistics() -> None:
    model, batch = EpiBERT(SMALL), random_batch(SMALL, 2, 2)
    before = model.head.block.norm.running_mean.clone()
    torch.manual_seed(0)
    prediction = model.train().run(batch).prediction
    prediction.log().mean().backward()
    assert [
        name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()
    ] == []
    assert not torch.equal(model.head.block.norm.running_mean, before)
    assert model.head.block.norm.momentum == pytest.approx(0.1)
    assert not torch.equal(model.run(batch).prediction, model.run(batch).prediction)  # dropout
    model.eval()
    assert torch.equal(model.run(batch).prediction, model.run(batch).prediction)


def test_full_size_has_the_parameters_of_the_original() -> None:
    config = EpiBERTConfig.from_original({})
    assert (
        sum(int(np.prod(place.shape)) for place in original_places(config).values()) == 84_314_237
    )
    assert (config.head_dim, config.crop, config.input_channels) == (128, 2, 1096)


def test_places_name_every_tensor_of_the_model() -> None:
    names = {place.name for place in original_places(SMALL).values()}
    assert names == {
        name for name in EpiBERT(SMALL).state_dict() if not name.endswith("num_batches_tracked")
    }


def test_safetensors_give_the_model_back(tmp_path: Path) -> None:
    model = EpiBERT(SMALL, init_seed=5).eval()
    path = tmp_path / "model.safetensors"
    model.save_safetensors(path)
    again, batch = EpiBERT.from_safetensors(path), random_batch(SMALL, 1, 2)
    assert again.config == SMALL
    assert not again.training
    with torch.no_grad():
        torch.testing.assert_close(
            again(*_unshared(batch, 2)), model(*_unshared(batch, 2)), rtol=0, atol=0
        )


def _unshared(batch: Batch, biosamples: int) -> Batch:
    assert batch.sequence is not None
    return batch._replace(sequence=batch.sequence.repeat_interleave(biosamples, dim=0))


def test_bad_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(UserError, match=r"model\.safetensors: does not exist"):
        EpiBERT.from_safetensors(path)
    path.write_bytes(b"not safetensors at all")
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        EpiBERT.from_safetensors(path)
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="not an EpiBERT written by petriscope"):
        EpiBERT.from_safetensors(path)
    EpiBERT(SMALL).save_safetensors(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        EpiBERT.from_safetensors(path)


def test_original_weights_load_strictly_under_each_spelling() -> None:
    weights, model = random_weights(SMALL), EpiBERT(SMALL)
    spelled = {f"model/{path}/.ATTRIBUTES/VARIABLE_VALUE": array for path, array in weights.items()}
    torch.testing.assert_close(
        model.load_original(weights).state_dict(),
        EpiBERT(SMALL).load_original(spelled).state_dict(),
    )
    assert not model.training
    with pytest.raises(
        UserError, match=r"1 of the model's \d+ variables are missing: stem_conv/kernel"
    ):
        model.load_original(
            {path: array for path, array in weights.items() if path != "stem_conv/kernel"}
        )
    with pytest.raises(UserError, match="belong to no part of this model: stem_conv/extra"):
        model.load_original(weights | {"stem_conv/extra": np.zeros(3)})
    key = "performer/layers/1/self_attention/query_dense_layer/kernel"
    with pytest.raises(
        UserError, match=rf"{key}: shape \(16, 4, 4\) does not fit .* needs \(16, 2, 8\)"
    ):
        model.load_original(weights | {key: weights[key].reshape(16, 4, 4)})
    with pytest.raises(UserError, match="stem_conv/bias: has type int64"):
        model.load_original(weights | {"stem_conv/bias": np.zeros(8, dtype=np.int64)})


BAD_CONFIGS = {
    "heads": ({"heads": 3}, "heads: width 16 is not divisible by 3 heads"),
    "odd head": ({"heads": 16}, "head_dim: rotary positions turn pairs"),
    "window": ({"input_length": 2000}, "output_length: 16 tokens of 128 bp are not 2000 bp"),
    "crop": (
        {"final_output_length": 17},
        "final_output_length: 17 tokens cannot be cropped out of 16",
    ),
    "branches": ({"atac_filters": (4,)}, "atac_filters: the accessibility branch pools 32 bp"),
    "empty": ({"sequence_filters": ()}, "sequence_filters: the list is empty"),
    "no list": ({"sequence_filters": "8"}, "sequence_filters: '8' is not a list"),
    "zero": ({"num_motifs": 0}, "num_motifs: 0 is below 1"),
    "type": ({"seed": "19"}, "seed: '19' is not int"),
    "fraction": ({"dropout": 1.5}, r"dropout: 1.5 is not in \[0, 1\)"),
    "scale": ({"final_point_scale": 99}, "final_point_scale: 99 exceeds d_model 16"),
}


@pytest.mark.parametrize(("change", "message"), BAD_CONFIGS.values(), ids=BAD_CONFIGS.keys())
def test_impossible_configurations_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(SMALL, **({"d_model": 0, "head_dim": 0} | change))


def test_original_names_are_understood_and_other_kernels_refused() -> None:
    config = EpiBERTConfig.from_original(
        {"output_length": 64, "num_heads": 4, "BN_momentum": 0.8, "norm": False}
    )
    assert (config.input_length, config.final_output_length, config.crop) == (8192, 60, 2)
    assert (config.head_dim, config.bn_momentum, config.final_norm) == (256, 0.8, False)
    assert EpiBERTConfig.from_original({"input_length": 4096}).output_length == 32
    with pytest.raises(UserError, match="kernel_transformation: attention kernel 'softmax"):
        EpiBERTConfig.from_original({"kernel_transformation": "softmax_kernel_transformation"})


def test_one_hot_has_a_row_of_zeros_at_n() -> None:
    assert one_hot(np.array([[0, 1, 2, 3, 4]], dtype=np.uint8)).tolist() == [
        np.eye(5)[:, :4].tolist()
    ]
