"""Kind 6, foreign containers: an autoencoder of another library gives that library's codes, or one
line that names the file and the tensor or field.

The expected codes are the libraries' own: `tests/fixtures/make_containers.py` ran SAELens 3.23.4,
4.4.5, 5.11.0 and 6.22.2, dictionary_learning 0.1.0, sparsify 1.3.3 and overcomplete 0.3.0, and kept
what they saved, encoded and decoded. What damages a file is tried on the plain numpy forwards below.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases.conftest import Cli, Refused
from hypothesis import strategies as st
from properties_of import reads
from safetensors.torch import save_file

from petriscope.errors import UserError
from petriscope.sae.coder import SAE
from petriscope.sae.exchange import FORMATS, Given

HELD = dict(np.load(Path(__file__).parent.parent / "fixtures" / "containers.npz"))
LABELS = sorted({"|".join(key.split("|")[:3]) for key in HELD if "|" in key})
REFUSED = {
    "saelens|gated": "cfg.json: architecture: is gated",
    "saelens|layer_norm": "cfg.json: normalize_activations: is layer_norm",
    "dictionary_learning|GatedAutoEncoder": "trainer.dict_class: is GatedAutoEncoder",
    "sparsify|groupmax": "cfg.json: activation: is groupmax",
    "sparsify|transcoder": "cfg.json: transcode: is True",
    "overcomplete|relu_l1-layernorm": "sae.pt: encoder.final_block.1.running_mean: is missing",
    "overcomplete|relu_l1-deep": "sae.pt: encoder.mlp_blocks",
}
GIVEN = {
    "relu_l1": Given("relu_l1"),
    "relu_l1-multiplier": Given("relu_l1"),
    "relu_l1-layernorm": Given("relu_l1"),
    "relu_l1-deep": Given("relu_l1"),
    "topk": Given("topk", 3),
    "topk-batchnorm": Given("topk", 3),
    "batchtopk": Given("batchtopk", threshold=0.4),
}


def rebuilt(label: str, folder: Path) -> Path:
    """The folder as the library saved it."""
    folder.mkdir(exist_ok=True)
    files: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in HELD.items():
        if not key.startswith(f"{label}|"):
            continue
        name, *tensor = key.split("|")[3:]
        if tensor:
            files.setdefault(name, {})[tensor[0]] = torch.from_numpy(np.array(value))
        elif name.endswith(".json"):
            (folder / name).write_text(str(value))
    for name, tensors in files.items():
        save(folder / name, tensors)
    return folder


def save(path: Path, tensors: Any) -> None:
    if path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path)


def close(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("label", LABELS)
def test_the_codes_are_the_librarys_own(label: str, tmp_path: Path) -> None:
    library, _, kind = label.split("|")
    folder = rebuilt(label, tmp_path / "there")
    given = GIVEN.get(kind, Given()) if library == "overcomplete" else Given()
    words = REFUSED.get(f"{library}|{kind}")
    if words is not None:
        with pytest.raises(UserError, match=words.replace(".", r"\.")):
            FORMATS[library].load(folder, given)
        return
    sae = FORMATS[library].load(folder, given)
    close(sae.encode(HELD["x"]).dense(), HELD[f"{label}|codes"])
    close(sae.decode(sae.encode(HELD["x"])), HELD[f"{label}|decoded"])
    sae.save(tmp_path / "ours")
    close(SAE.load(tmp_path / "ours").encode(HELD["x"]).dense(), HELD[f"{label}|codes"])


def test_the_genomic_lm_study(tmp_path: Path, shared: Path) -> None:
    """Against the authors' own class."""
    held = np.load(shared / "golden" / "hsg_sae.npz")
    state = {k[2:]: torch.from_numpy(held[k]) for k in held.files if k.startswith("w.")}
    torch.save(state, tmp_path / "sae.pt")
    sae = FORMATS["genomic_lm"].load(tmp_path / "sae.pt", Given())
    close(sae.encode(held["x"]).dense(), held["latents"])
    close(sae.decode(sae.encode(held["x"])), held["x_hat"])


def test_free_decoder_columns_are_left_as_they_are(tmp_path: Path, shared: Path) -> None:
    """After five steps of the authors' training no column is of unit length, nor made so."""
    held = np.load(shared / "golden" / "hsg_sae.npz")
    names = [key for key in held.files if key.startswith("after5.")]
    state = {key.removeprefix("after5."): torch.from_numpy(held[key]) for key in names}
    assert set(state) == {"bias", "encoder.weight", "encoder.bias", "decoder.weight"}
    torch.save(state, tmp_path / "sae.pt")
    sae = FORMATS["genomic_lm"].load(tmp_path / "sae.pt", Given())
    assert torch.equal(sae.directions, state["decoder.weight"].T)
    assert float((sae.W_dec.norm(dim=1) - 1).abs().max()) > 1e-4
    assert not sae.config.unit_decoder
    torch.save(torch.nn.Linear(4, 8), tmp_path / "module.pt")
    with pytest.raises(UserError, match=r"module.pt: is a pickled module or damaged"):
        FORMATS["genomic_lm"].load(tmp_path / "module.pt", Given())


# ---- damaged and strange files, on plain tensors ------------------------------------------------

D, M = 4, 8
RNG = np.random.default_rng(0)
X = RNG.normal(size=(20, D)).astype(np.float32)


def draw(*shape: int) -> torch.Tensor:
    return torch.from_numpy(RNG.normal(size=shape).astype(np.float32))


LENS = {"W_enc": draw(D, M), "b_enc": draw(M), "W_dec": draw(M, D), "b_dec": draw(D)}
LINEAR = {
    "encoder.weight": draw(M, D),
    "encoder.bias": draw(M),
    "decoder.weight": torch.nn.functional.normalize(draw(D, M), dim=0),
}
TOPK = {**LINEAR, "b_dec": draw(D), "k": torch.tensor(3), "threshold": torch.tensor(-1.0)}
Container = tuple[str, str, Any, str, dict[str, Any]]
JUMP: Container = (
    "saelens",
    "cfg.json",
    {"architecture": "jumprelu", "d_in": D, "d_sae": M},
    "sae_weights.safetensors",
    {**LENS, "threshold": torch.full((M,), 0.3)},
)
BATCH: Container = (
    "dictionary_learning",
    "config.json",
    {"trainer": {"dict_class": "BatchTopKSAE", "k": 3}},
    "ae.pt",
    {**TOPK, "threshold": torch.tensor(0.3)},
)
EAI: Container = (
    "sparsify",
    "cfg.json",
    {"d_in": D, "num_latents": M, "k": 3},
    "sae.safetensors",
    {**{k: v for k, v in LINEAR.items() if k != "decoder.weight"}, "W_dec": draw(M, D)}
    | {"b_dec": draw(D)},
)


def lens(x: np.ndarray, t: dict[str, Any], theta: float = 0.0) -> np.ndarray:
    """SAELens' forward with the decoder's bias taken from the input."""
    pre = (x - t["b_dec"].numpy()) @ t["W_enc"].numpy() + t["b_enc"].numpy()
    return pre * (pre > theta)


def linear(x: np.ndarray, t: dict[str, Any], keep: Callable[[np.ndarray], Any]) -> np.ndarray:
    """dictionary_learning's and sparsify's forward."""
    pre = (x - t["b_dec"].numpy()) @ t["encoder.weight"].numpy().T + t["encoder.bias"].numpy()
    return np.maximum(pre, 0) * keep(pre)


def top3(pre: np.ndarray) -> np.ndarray:
    return pre >= np.sort(pre, axis=1)[:, -3:-2]


def put(folder: Path, container: Container, fields: Any = None, **tensors: Any) -> Path:
    """Write a container with fields or tensors changed; None takes a tensor out."""
    _, description, described, weights, held = container
    folder.mkdir(exist_ok=True)
    told = {**described, **fields} if isinstance(fields, dict) else described
    (folder / description).write_text(json.dumps(told if fields is None else fields and told))
    kept = {k: v for k, v in {**held, **tensors}.items() if v is not None}
    save(folder / weights, {k: v.contiguous() for k, v in kept.items()})
    return folder


def codes(container: Container, folder: Path) -> np.ndarray:
    return FORMATS[container[0]].load(folder, Given()).encode(X).dense()


def test_log_threshold_is_read(tmp_path: Path) -> None:
    log = torch.full((M,), float(np.log(0.3)))
    folder = put(tmp_path / "f", JUMP, threshold=None, log_threshold=log)
    close(codes(JUMP, folder), lens(X, LENS, float(np.float32(0.3))))


def test_thresholds_below_zero_are_a_relu(tmp_path: Path) -> None:
    folder = put(tmp_path / "f", JUMP, threshold=-torch.arange(M).float())
    close(codes(JUMP, folder), lens(X, LENS))


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions_are_read_exactly(tmp_path: Path, kind: torch.dtype) -> None:
    cast = {name: tensor.to(kind) for name, tensor in JUMP[4].items()}
    folder = put(tmp_path / "f", JUMP, {"dtype": str(kind)}, **cast)
    exact = {name: tensor.float() for name, tensor in cast.items()}
    close(codes(JUMP, folder), lens(X, exact, float(exact["threshold"][0])))


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_prefixes_of_compilers_are_taken_off(tmp_path: Path, prefix: str) -> None:
    folder = put(tmp_path / "f", BATCH)
    torch.save({f"{prefix}{k}": v for k, v in BATCH[4].items()}, folder / "ae.pt")
    close(codes(BATCH, folder), linear(X, TOPK, lambda pre: pre > np.float32(0.3)))


def test_k_that_only_the_weights_hold(tmp_path: Path) -> None:
    folder = put(tmp_path / "f", BATCH, {"trainer": {"dict_class": "AutoEncoderTopK"}})
    close(codes(BATCH, folder), linear(X, TOPK, top3))


def test_older_topk_without_k_and_threshold_in_the_weights(tmp_path: Path) -> None:
    trainer = {"trainer": {"dict_class": "AutoEncoderTopK", "k": 3}}
    folder = put(tmp_path / "f", BATCH, trainer, k=None, threshold=None)
    close(codes(BATCH, folder), linear(X, TOPK, top3))


def test_a_threshold_never_trained_is_a_relu(tmp_path: Path) -> None:
    folder = put(tmp_path / "f", BATCH, threshold=torch.tensor(-1.0))
    close(codes(BATCH, folder), linear(X, TOPK, lambda pre: 1))


def test_weights_alone_where_they_tell_the_class(tmp_path: Path) -> None:
    torch.save({**LINEAR, "bias": TOPK["b_dec"]}, tmp_path / "ae.pt")
    close(codes(BATCH, tmp_path), linear(X, TOPK, lambda pre: 1))
    torch.save(TOPK, tmp_path / "ae.pt")
    with pytest.raises(
        UserError, match=r"config\.json: is absent: ae.pt may be AutoEncoderTopK or"
    ):
        codes(BATCH, tmp_path)


CASES: list[tuple[Container, Any, dict[str, Any], tuple[str, ...]]] = [
    (JUMP, None, {"threshold": None}, ("sae_weights.safetensors", "threshold: is missing")),
    (JUMP, None, {"threshold": torch.arange(M).float()}, ("threshold: is a number for each",)),
    (JUMP, None, {"W_dec": None}, ("W_dec: is missing",)),
    (JUMP, None, {"b_enc": draw(M + 1)}, ("b_enc: has shape (9,)", "d_sae = 8")),
    (JUMP, None, {"W_enc": draw(M, D)}, ("W_enc: has shape (8, 4)", "d_in = 4")),
    (JUMP, None, {"W_enc": draw(D, M) * np.nan}, ("W_enc: holds NaN",)),
    (JUMP, None, {"W_dec": draw(M, D).to(torch.float64) * 1e300}, ("W_dec: holds NaN or inf",)),
    (JUMP, None, {"b_gate": draw(M)}, ("b_gate: is a tensor of another architecture",)),
    (JUMP, None, {"scaling_factor": draw(M)}, ("scaling_factor", "cfg.json does not use it")),
    (JUMP, {"d_sae": 9}, {}, ("W_enc: has shape (4, 8)", "d_sae = 9")),
    (JUMP, {"d_in": "4"}, {}, ("cfg.json: d_in: is '4'",)),
    (JUMP, {"architecture": "gated"}, {}, ("architecture: is gated",)),
    (JUMP, {"architecture": "transcoder"}, {}, ("architecture: is transcoder",)),
    (JUMP, {"normalize_activations": True}, {}, ("normalize_activations: is True",)),
    (JUMP, {"activation_fn_str": "tanh-relu"}, {}, ("activation_fn_str: is tanh-relu",)),
    (JUMP, {"apply_b_dec_to_input": "no"}, {}, ("apply_b_dec_to_input: is 'no'",)),
    (JUMP, {"architecture": "topk"}, {"threshold": None}, ("cfg.json: k: is missing",)),
    (JUMP, {"architecture": "topk", "k": 2.5}, {"threshold": None}, ("k: is 2.5",)),
    (JUMP, {"architecture": "topk", "k": True}, {"threshold": None}, ("k: is True",)),
    (JUMP, {"architecture": "topk", "k": 8}, {"threshold": None}, ("k: is 8", "below m = 8")),
    (BATCH, None, {"threshold": None}, ("ae.pt: threshold: is missing",)),
    (BATCH, None, {"threshold": torch.tensor([0.3, 0.4])}, ("threshold: has shape (2,)",)),
    (BATCH, None, {"k": torch.tensor(4)}, ("k: is 3 and 4 at once",)),
    (BATCH, {"trainer": None}, {}, ("config.json: trainer: is None",)),
    (BATCH, {"trainer": [1]}, {}, ("config.json: trainer: is [1]",)),
    (BATCH, {"trainer": {}}, {}, ("trainer.dict_class: is None",)),
    (BATCH, {"trainer": {"dict_class": "GatedAutoEncoder"}}, {}, ("is GatedAutoEncoder",)),
    (BATCH, {"trainer": {"dict_class": "BatchTopKSAE"}}, {"k": None}, ("k: is absent",)),
    (EAI, {"k": None}, {}, ("cfg.json: k: is missing",)),
    (EAI, {"skip_connection": True}, {}, ("skip_connection: is True",)),
    (EAI, None, {"W_skip": draw(D, D)}, ("W_skip: is a tensor of another",)),
    (EAI, None, {"W_dec": None}, ("sae.safetensors: W_dec: is missing",)),
    (EAI, {"num_latents": 7}, {}, ("encoder.weight: has shape (8, 4)", "d_sae = 7")),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[3][0])
def test_what_has_no_equal_is_one_line(
    case: tuple[Container, Any, dict[str, Any], tuple[str, ...]], tmp_path: Path
) -> None:
    container, fields, tensors, words = case
    folder = put(tmp_path / "f", container, fields, **tensors)
    with pytest.raises(UserError) as refusal:
        codes(container, folder)
    for word in words:
        assert word in str(refusal.value), str(refusal.value)


@pytest.mark.parametrize("text", ["[1, 2]", '"x"', "null", "{", "", "\ufeff{}"])
def test_descriptions_that_are_none(text: str, tmp_path: Path, refused: Refused) -> None:
    folder = put(tmp_path / "f", JUMP)
    (folder / "cfg.json").write_text(text)
    refused(["sae", "import", folder, tmp_path / "out", "--format", "saelens"], "cfg.json")


def test_weights_that_are_none(tmp_path: Path, refused: Refused) -> None:
    folder = put(tmp_path / "f", BATCH)
    command = ["sae", "import", folder, tmp_path / "out", "--format", "dictionary_learning"]
    torch.save(torch.nn.Linear(2, 2), folder / "ae.pt")
    refused(command, "ae.pt", "pickled module", "state_dict()")
    (folder / "ae.pt").write_bytes(pickle.dumps({"encoder.weight": np.zeros(3)}))
    refused(command, "ae.pt", "pickled")
    torch.save([torch.zeros(2)], folder / "ae.pt")
    refused(command, "ae.pt", "holds one list")
    for content in (b"", b"\x80", b"PK\x03\x04 cut", b"a,b\n1,2\n"):
        (folder / "ae.pt").write_bytes(content)
        refused(command, "ae.pt")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_several_names_them(tmp_path: Path, refused: Refused) -> None:
    for name in ("layers.0", "layers.1"):
        (tmp_path / "all").mkdir(exist_ok=True)
        put(tmp_path / "all" / name, EAI)
    command = ["sae", "import", tmp_path / "all", tmp_path / "out", "--format", "sparsify"]
    refused(command, "holds several autoencoders: layers.0, layers.1", "Name one")


def test_what_the_file_lacks_is_asked_for(tmp_path: Path, cli: Cli, refused: Refused) -> None:
    folder = rebuilt("overcomplete|0.3.0|topk", tmp_path / "oc")
    command = ["sae", "import", folder, tmp_path / "out", "--format", "overcomplete"]
    refused(command, "variant: is None", "--variant")
    refused([*command, "--variant", "topk"], "--k: is missing")
    told = cli([*command, "--variant", "topk", "--k", "3"])
    assert (told.returncode, "topk autoencoder: 12 latents" in told.stdout) == (0, True)
    jump = put(tmp_path / "f", JUMP)
    refused(["sae", "import", jump, tmp_path / "o", "--format", "saelens", "--k", "9"], "--k: is 9")


# ---- any damage at all ---------------------------------------------------------------------------

DAMAGE = st.fixed_dictionaries(
    {
        "container": st.sampled_from([JUMP, BATCH, EAI]),
        "tensor": st.integers(0, 6),
        "how": st.sampled_from(
            ["drop", "nan", "transpose", "flat", "int", "cut", "prefix", "half", "extra", "none"]
        ),
        "field": st.sampled_from(
            ["architecture", "k", "d_in", "d_sae", "trainer", "activation", "num_latents", "dtype"]
        ),
        "value": st.one_of(
            st.none(), st.booleans(), st.integers(-2, 9), st.floats(), st.text(max_size=5),
            st.sampled_from(["standard", "topk", "jumprelu"]), st.just([]), st.just({}),
        ),
        "touch": st.booleans(),
    }
)  # fmt: skip


@reads(DAMAGE)
def damaged(case: dict[str, Any]) -> None:
    """Any one tensor and any one field changed: the numpy forward's codes, or one line."""
    import tempfile

    container = case["container"]
    held = dict(container[4])
    name = sorted(held)[case["tensor"] % len(held)]
    tensor, how = held.pop(name), case["how"]
    changed = {
        "drop": {},
        "nan": {name: torch.full_like(tensor.float(), torch.nan)},
        "transpose": {name: tensor.T if tensor.ndim == 2 else tensor},
        "flat": {name: tensor.reshape(-1)},
        "int": {name: tensor.to(torch.int32)},
        "cut": {name: tensor[..., :-1] if tensor.ndim else tensor},
        "prefix": {f"_orig_mod.{name}": tensor},
        "half": {name: tensor.to(torch.float16)},
        "extra": {name: tensor, "r_mag": torch.zeros(M)},
        "none": {name: tensor},
    }[how]
    held |= changed
    fields = {case["field"]: case["value"]} if case["touch"] else None
    with tempfile.TemporaryDirectory() as scratch:
        folder = put(Path(scratch), container, fields)
        save(folder / container[3], {k: v.contiguous() for k, v in held.items()})
        try:
            found = codes(container, folder)
        except UserError as error:
            assert "\n" not in str(error) and folder.name in str(error)
            assert how != "none" or case["touch"], str(error)
            return
    plain = {k.removeprefix("_orig_mod."): v.float() for k, v in held.items()}
    told = json.loads(json.dumps({**container[2], **(fields or {})}))
    theta = plain.get("threshold", torch.zeros(1)).reshape(-1)[0].item()
    if container is JUMP:
        kind = told.get("architecture", "standard")
        assert kind in ("jumprelu", "standard", "topk"), told
        assert ("threshold" in plain) is (kind == "jumprelu")
        expected = lens(X, plain, max(theta, 0.0))
        if kind == "topk":
            pre = lens(X, plain, -np.inf)
            expected = lens(X, plain) * (pre >= -np.sort(-pre, axis=1)[:, int(told["k"]) - 1, None])
    elif container is BATCH:
        expected = linear(X, plain, lambda pre: pre > max(theta, 0.0))
    else:
        k = int(told["k"])
        expected = linear(X, plain, lambda pre: pre >= -np.sort(-pre, axis=1)[:, k - 1, None])
    close(found, expected)


test_any_damage, test_any_damage_at_length = damaged
