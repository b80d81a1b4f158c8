"""References: the authors' maps and reductions (golden), a loop over single substitutions and the
original's `tokens.index`, networkx for the vectors of the symmetrized map."""

from __future__ import annotations

import networkx
import numpy as np
import pandas as pd
import pytest
import torch

from petriscope.errors import UserError
from petriscope.run.fixtures import read_fixture
from petriscope.sae.coder import SAE
from petriscope.sae.config import SAEConfig
from petriscope.studies.dna.dependency import (
    Reader,
    effects,
    map_arrays,
    published_map,
    published_reductions,
    published_shares,
    reduction_table,
    reductions,
)
from petriscope.studies.dna.locality import (
    against,
    bootstrap_weights,
    decay_table,
    locality,
    matched_on_firing,
    mutated_bases,
)
from petriscope.studies.dna.model.nucleotide import (
    NucleotideConfig,
    NucleotideTransformer,
    SequenceBatch,
)
from petriscope.studies.dna.model.tokens import tokenize, tokenize_all
from petriscope.studies.dna.parity import dependency as parity

SEQUENCE = "ACGTACTTGACAACGTACGGTTAGCCA"
"""27 bp: a repeated six-mer (ACGTAC), four six-mers and three single bases."""


def reader(layer: int = 2, form: str = "v2", seed: int = 3) -> Reader:
    config = NucleotideConfig(form=form, layers=3, d_model=16, heads=2, ffn=32, tokens=64)
    model = NucleotideTransformer(config, seed).eval()
    generator = torch.Generator().manual_seed(seed)
    m = 24
    encoder = torch.randn(m, 16, generator=generator)
    sae = SAE(
        SAEConfig(d=16, m=m, k=1, variant="relu_l1", scale_input=False),
        encoder,
        torch.randn(m, generator=generator) * 0.1,
        torch.nn.functional.normalize(encoder, dim=1),
        torch.zeros(16),
        1.0,
        0.0,
    )
    return Reader(model, sae, layer, form)


def latents(r: Reader, text: str) -> np.ndarray:
    """(T, m) by one plain run, `<cls>` first."""
    ids = torch.from_numpy(tokenize(text, r.form).ids)[None]
    with torch.inference_mode():
        run = r.model.run(SequenceBatch(ids, ids >= 0), capture=[r.layer])
        return r.coder.encode_dense(run.hidden[r.layer])[0].numpy()


def plain_signed(r: Reader, text: str) -> np.ndarray:
    """(F, L, 3, L) by one run a substitution."""
    width = tokenize(text, r.form).width[1:]
    base = np.repeat(latents(r, text)[1:], width, axis=0)
    rows = [
        [
            np.repeat(latents(r, text[:i] + x + text[i + 1 :])[1:], width, axis=0) - base
            for x in "ACGT"
            if x != text[i]
        ]
        for i in range(len(text))
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def authors_map(r: Reader, text: str, feature: int) -> np.ndarray:
    """`calculate_position_dependency_map` as its source reads, on our model."""

    def bases(sequence: str) -> np.ndarray:
        table = tokenize(sequence, r.form)
        tokens = [sequence[s : s + w] for s, w in zip(table.start[1:], table.width[1:])]
        values, found = latents(r, sequence)[:, feature], []
        for token in tokens:
            found.extend([values[tokens.index(token)]] * len(token))
        return np.array(found)

    found = np.zeros((len(text), len(text)))
    for i in range(len(text)):
        changed = [text[:i] + x + text[i + 1 :] for x in "ATCG" if x != text[i]]
        found[i] = np.mean([np.abs(bases(one) - bases(text)) for one in changed], axis=0)
    return found


@pytest.mark.parametrize("form", ["v1", "v2"])
def test_maps_are_those_of_single_substitutions(form):
    r = reader(form=form)
    found = effects(r, SEQUENCE)
    wanted = plain_signed(r, SEQUENCE)
    np.testing.assert_allclose(found.signed(), wanted, atol=2e-6)
    np.testing.assert_allclose(found.map(), np.abs(wanted).mean(2), atol=2e-6)
    chosen = effects(r, SEQUENCE.lower(), features=np.array([5, 2]), bases=np.array([7]))
    np.testing.assert_allclose(chosen.signed(), wanted[[5, 2], 7:8], atol=2e-6)


def test_an_n_is_no_base_to_substitute_and_moves_no_token():
    r, text = reader(), SEQUENCE[:10] + "N" + SEQUENCE[10:]
    with pytest.raises(UserError, match="base 11 is 'N'"):
        effects(r, text)
    bases = np.array([i for i in range(len(text)) if i != 10])
    found = effects(r, text, bases=bases).signed()
    assert found.shape == (24, 27, 3, 28)
    width, changed = tokenize(text, r.form).width, text[:12] + "C" + text[13:]
    wanted = np.repeat(latents(r, changed) - latents(r, text), width, axis=0)
    assert text[12] == "A"
    np.testing.assert_allclose(found[:, 11, 0].T, wanted, atol=2e-6)


def test_own_blocks_are_the_tokens():
    block = effects(reader(), SEQUENCE).own_block()
    assert block.sum() == 4 * 36 + 3
    assert block[6:12, 6:12].all()
    assert not block[5, 6]


def test_published_maps_and_each_of_their_defects():
    r = reader()
    plain = effects(r, SEQUENCE).map()
    for feature in (1, 4):
        found = published_map(r, SEQUENCE, [feature])[0]
        np.testing.assert_allclose(found, authors_map(r, SEQUENCE, feature), atol=1e-5)
        clean = published_map(
            r, SEQUENCE, [feature], shifted=False, first_of_repeats=False, baseline_again=False
        )[0]
        np.testing.assert_allclose(clean, plain[feature], atol=1e-5)
        again = published_map(r, SEQUENCE, [feature], baseline_again=False)[0]
        np.testing.assert_allclose(again, found, atol=1e-5)  # costs a pass a base, changes nothing
        repeated = published_map(r, SEQUENCE, [feature], shifted=False)[0]
        assert not np.allclose(repeated, plain[feature], atol=1e-3)
    shifted = published_map(r, SEQUENCE, np.arange(24), first_of_repeats=False)
    # the latent of <cls> stands on the first token, and the last token's own is lost
    np.testing.assert_allclose(shifted[:, :, 6:12], plain[:, :, 0:6], atol=1e-5)
    np.testing.assert_allclose(shifted[:, :, 26], plain[:, :, 25], atol=1e-5)


def test_published_mass_lies_on_the_next_token():
    text = "ACGTACTTGACAGTCCATGGTTAGCCATGTCA"
    own, following = published_shares(reader(layer=0), [text], np.arange(24))
    assert own < 0.01  # where a substitution makes the last base that of an earlier token
    assert following > 0.9  # the last token's own is lost
    own, following = published_shares(reader(), [text], np.arange(24))
    assert following > own


def test_layer_0_is_local_by_construction():
    found = locality(reader(layer=0), [SEQUENCE] * 2, np.arange(24), np.ones(24), positions=50)
    assert found.own.sum() > 0
    assert found.off.sum() == 0


def test_locality_adds_up_to_the_maps():
    r, scale = reader(), np.linspace(0.5, 2, 24)
    sequences = [SEQUENCE, SEQUENCE[::-1]]
    found = locality(r, sequences, np.arange(24), scale, positions=50)
    total_own = total_off = 0.0
    for row, text in enumerate(sequences):
        bases = mutated_bases(text, r.form, 50)
        table = tokenize(text, r.form)
        token = np.repeat(np.arange(len(table.width) - 1), table.width[1:])
        for base in bases:
            for letter in "ACGT":
                changed = text[:base] + letter + text[base + 1 :]
                size = np.abs(latents(r, changed) - latents(r, text))[1:] / scale
                total_own += size[token[base]].sum()
                total_off += size.sum() - size[token[base]].sum()
        assert found.share(np.eye(2))[row] == pytest.approx(
            found.off[row].sum() / (found.own + found.off)[row].sum()
        )
    assert found.own.sum() == pytest.approx(total_own, rel=1e-4)
    assert found.off.sum() == pytest.approx(total_off, rel=1e-4)
    assert found.change.sum() == pytest.approx(total_own + total_off, rel=1e-4)
    table = decay_table(found, found)
    assert table.groupby("model").share.sum().round(6).eq(1).all()


def test_bases_are_spread_and_known():
    assert mutated_bases("ACGTAC" * 10, "v2", 4).tolist() == [3, 21, 39, 57]
    assert mutated_bases("ACGNNC", "v2", 9).tolist() == [0, 1, 2, 5]


def test_difference_is_paired_over_sequences():
    shares = np.array([0.4, 0.5, 0.3])
    found = against(shares, shares + 0.1)
    assert found["difference"] == pytest.approx(-0.1)
    assert found["difference_low"] == pytest.approx(-0.1)
    assert found["difference_high"] == pytest.approx(-0.1)
    assert against(shares, None) == {}
    assert bootstrap_weights(5, 9, 0).sum(1).tolist() == [5.0] * 10


def test_matches_fire_as_often_and_are_others():
    rate = np.array([0.1, 0.11, 0.5, 0.48, 0.0, 0.9])
    assert matched_on_firing(np.array([0, 2]), rate, 0).tolist() == [1, 3]


def test_corrected_reductions_are_those_of_the_symmetric_map():
    rng = np.random.default_rng(0)
    matrix = rng.random((12, 12))
    symmetric = (matrix + matrix.T) / 2
    found = reductions(matrix)
    graph = networkx.from_numpy_array(symmetric)
    fiedler = np.array(networkx.fiedler_vector(graph, method="lanczos", tol=1e-12, seed=1))
    fiedler *= np.sign(fiedler[np.argmax(np.abs(fiedler))]) / np.linalg.norm(fiedler)
    np.testing.assert_allclose(found.values[2], fiedler, atol=1e-6)
    centrality = networkx.eigenvector_centrality_numpy(graph, weight="weight")
    np.testing.assert_allclose(found.values[1], list(centrality.values()), atol=1e-8)
    for vector in found.values[1:4]:
        assert vector[np.argmax(np.abs(vector))] > 0
    np.testing.assert_allclose(reductions(matrix.T).values, found.values, atol=1e-9)


def test_published_reductions_see_one_triangle():
    rng = np.random.default_rng(1)
    matrix = rng.random((10, 10))
    other = matrix.copy()
    other[0, 1:] = np.roll(other[0, 1:], 3)  # the same row sum, another upper triangle
    first, second = published_reductions(matrix), published_reductions(other)
    np.testing.assert_allclose(first.values[2:], second.values[2:], atol=1e-12)
    assert not np.allclose(first.values[1], second.values[1], atol=1e-4)
    assert not np.allclose(reductions(matrix).values[2], reductions(other).values[2], atol=1e-4)


def test_a_degenerate_map_has_no_eigengap():
    assert reductions(np.eye(5)).eigengap[2] == pytest.approx(0)
    assert np.isinf(reductions(np.eye(5)).eigengap[0])


def test_tables_hold_the_maps():
    r = reader()
    found = [
        effects(r, SEQUENCE, features=np.array([1, 2])),
        effects(r, SEQUENCE[:12], features=np.array([1, 2])),
    ]
    arrays = map_arrays(found, [SEQUENCE, SEQUENCE[:12]], ["a", "b"], np.array([1, 2]))
    assert arrays["maps"].shape == (2, 2, 27, 27)
    assert np.isnan(arrays["maps"][1, :, 12:]).all()
    table = reduction_table(found[0], np.array([1, 2]))
    assert isinstance(table, pd.DataFrame)
    assert len(table) == 2 * 2 * 5 * 27


def test_all_features_come_from_one_set_of_passes(monkeypatch):
    r, tokens = reader(), []
    plain = r.model.streams
    monkeypatch.setattr(
        r.model, "streams", lambda b, k: tokens.append(b.ids.shape) or plain(b, k), raising=False
    )
    effects(r, SEQUENCE)
    assert sum(rows for rows, _ in tokens) == 3 * len(SEQUENCE) + 1
    assert {count for _, count in tokens} == {len(tokenize(SEQUENCE, r.form).ids)}  # no padding


def test_sequences_of_any_length_keep_their_order():
    r = reader()
    texts = [SEQUENCE, SEQUENCE[:7], SEQUENCE[:25], SEQUENCE[5:12]]
    for text, found in zip(texts, r.latents(tokenize_all(texts, r.form)), strict=True):
        np.testing.assert_allclose(found, latents(r, text), atol=1e-5)  # float32, values of 8


def test_every_array_of_the_golden_is_met_and_a_damaged_one_is_not(shared):
    path = shared / "golden" / "hsg_dependency.npz"
    entries = read_fixture(path)
    found = {one.array: one for one in parity.compare(path, entries)}
    assert all(one.error <= one.allowed for one in found.values()), found
    assert len(found) >= 44
    for name, row in (
        ("signed_0", 2),
        ("reduce_published_2", 1),
    ):
        damaged = entries[name].copy()
        damaged[row] += 1e-3
        worse = parity.compare(path, {**entries, name: damaged})
        bad = [one.array for one in worse if one.error > one.allowed]
        assert bad and bad[0].startswith(name)


def test_the_last_layer_is_read_after_its_norm():
    r = reader(layer=3)
    entries = {
        f"sae.{name}": value.numpy()
        for name, value in (
            ("encoder.weight", r.coder.W_enc), ("encoder.bias", r.coder.b_enc),
            ("decoder.weight", r.coder.W_dec.T), ("bias", r.coder.b_dec),
        )
    }  # fmt: skip
    x = torch.randn(2, 5, 16)
    last, before = (parity._Published(entries, r.model, layer) for layer in (3, 2))
    with torch.inference_mode():
        torch.testing.assert_close(last.encode_dense(x), before.encode_dense(r.model.last_norm(x)))
