"""Reference: a linear model, whose effects and gap closures are a few lines of numpy; and, for the
chromatin toy, the numbers of the stages' own experiments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
import pytest
import torch
from causal_toy import BINS, CROP, LINEAGES, autoencoder, model
from elsewhere import Elsewhere, off_the_host
from torch import Tensor, nn

from petriscope.causal.ablate import ablate, clamp, scale
from petriscope.causal.ablation import AblationArms, against_random, compare_arms
from petriscope.causal.directions import (
    Direction,
    difference_of_means,
    of_length,
    random_like,
    unit_means,
)
from petriscope.causal.edits import Pairs, gap_closure, gaps, swapped_features
from petriscope.causal.leaderboard import SignedBasis
from petriscope.causal.steer import steer, swap
from petriscope.causal.steering import SteeringPlan, compare_methods
from petriscope.contrast.design import Design
from petriscope.errors import UserError
from petriscope.probe.harvest import Hidden, harvest
from petriscope.probe.model import NO_EDITS, Edit, Inputs, ProbeOutput
from petriscope.probe.states import RowLabels, gather
from petriscope.probe.tokens import Tokens
from petriscope.studies.chromatin.model.base import Batch

D, K = 5, 3
CODER = SignedBasis(torch.eye(D), torch.tensor([0.1, -0.2, 0.0, 0.3, 0.05]))
"""Latents 2i and 2i + 1 are the positive and the negative part of coordinate i about a center."""


def two_by_two(names: list[object], strata: list[str], kind: list[str]) -> Design:
    frame = pd.DataFrame({"unit": names, "stratum": strata, "kind": kind})
    return Design(frame, condition="kind", target="new", strata="stratum")


class Linear(nn.Module):
    """h0 = x, h1 = h0 A, prediction h1 B (B, T, K), or its sum over unmasked positions (B, K)."""

    n_layers, d_model = 1, D

    def __init__(self, resumes: bool, pooled: bool = False) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.mix = nn.Parameter(torch.randn(D, D, generator=generator))
        self.head = nn.Parameter(torch.randn(D, K, generator=generator))
        self.resumes, self.pooled = resumes, pooled

    def run(
        self,
        batch: dict[str, Tensor] | None,
        capture: Sequence[int] = (),
        edits: Mapping[int, Edit] = NO_EDITS,
        *,
        resume: tuple[int, Tensor] | None = None,
    ) -> ProbeOutput:
        start, hidden = resume or (0, None)
        if hidden is None:
            assert batch is not None
            hidden = batch["x"]
        captured = {}
        for layer in range(start, 2):
            hidden = hidden @ self.mix if layer > start else hidden
            hidden = edits[layer](hidden) if layer in edits else hidden
            if layer in capture:
                captured[layer] = hidden
        prediction = hidden @ self.head
        if self.pooled:
            assert batch is not None
            prediction = (prediction * batch["mask"][..., None]).sum(1)
        return ProbeOutput(prediction, captured)

    def after(self, layer: int) -> np.ndarray:
        """(d, K) what one unit of the stream after ``layer`` adds to the prediction."""
        mix, head = self.mix.detach().numpy(), self.head.detach().numpy()
        return mix @ head if layer == 0 else head


class Sentences(Inputs):
    """Windows of two padded sentences, each its own document; the padding holds large values."""

    def __init__(self, windows: int = 8, shift: float = 1.0) -> None:
        rng = np.random.default_rng(0)
        self.lengths = rng.integers(3, 7, (windows, 2))
        self.x = [rng.normal(size=(2, row.max(), D)).astype(np.float32) for row in self.lengths]
        self.shift = np.full(D, shift, np.float32)
        for w, row in enumerate(self.lengths):
            for b, length in enumerate(row):
                self.x[w][b] += self.shift * (w % 2)
                self.x[w][b, length:] = 1e3
        self.table = pd.DataFrame(
            {
                "block": np.arange(windows) // 2,
                "split": ["train", "test"][1] if windows < 3 else "x",
            }
        )

    @property
    def tokens(self) -> Tokens:
        rows = [
            (w, 2 * w + b, t)
            for w, row in enumerate(self.lengths)
            for b, length in enumerate(row)
            for t in range(length)
        ]
        window, unit, position = np.array(rows).T
        return Tokens.ragged(self.table, 2 * len(self.lengths), window, unit, position)

    def mask(self, number: int) -> np.ndarray:
        return np.arange(self.x[number].shape[1]) < self.lengths[number][:, None]

    def batch(self, number: int) -> dict[str, Tensor]:
        return {
            "x": torch.from_numpy(self.x[number]),
            "mask": torch.from_numpy(self.mask(number).astype(np.float32)),
        }

    def kept(self, number: int, hidden: Tensor) -> Tensor:
        return hidden[torch.from_numpy(self.mask(number)).to(hidden.device)]

    def design(self) -> Design:
        kind = np.array(["plain", "shifted"])[np.arange(2 * len(self.lengths)) // 2 % 2]
        frame = pd.DataFrame({"document": [f"doc{i}" for i in range(len(kind))], "kind": kind})
        return Design(frame, condition="kind", target="shifted")


def removed(inputs: Sentences, window: int, features: Sequence[int], layer: int) -> np.ndarray:
    """(2, T, D) what ablating ``features`` of `CODER` adds, by definition; 0 at the padding."""
    stream = inputs.x[window] @ (np.eye(D) if layer == 0 else Linear(True).mix.detach().numpy())
    z = stream - CODER.center.numpy()
    delta = np.zeros_like(z)
    for feature in features:
        part = np.maximum(z[..., feature // 2] * (1 - 2 * (feature % 2)), 0)
        delta[..., feature // 2] -= part * (1 - 2 * (feature % 2))
    return np.where(inputs.mask(window)[..., None], delta, 0)


def expected_effect(inputs: Sentences, features: Sequence[int], layer: int) -> np.ndarray:
    """(blocks,) mean absolute change over tokens and outputs."""
    total, count = np.zeros(4), np.zeros(4)
    for w in range(8):
        change = removed(inputs, w, features, layer) @ Linear(True).after(layer)
        total[w // 2] += np.abs(change)[inputs.mask(w)].sum()
        count[w // 2] += inputs.mask(w).sum() * K
    return total / count


@pytest.mark.parametrize("resumes", [True, False])
@pytest.mark.parametrize("layer", [0, 1])
def test_ablation_of_a_linear_model_is_known(resumes: bool, layer: int) -> None:
    inputs, features = Sentences(), [0, 1, 6]
    cut = ablate(Linear(resumes), inputs, CODER, features, layer)
    expected = expected_effect(inputs, features, layer)
    np.testing.assert_allclose(cut.blocks["effect"], expected, rtol=1e-4)
    found = cut.effect()
    assert found.value == pytest.approx(expected.mean(), rel=1e-4)
    assert found.low < found.value < found.high
    assert (found.n, cut.windows) == (4, 8)
    few = cut.against_random(5)
    by_set = [expected_effect(inputs, chosen, layer).mean() for chosen in few.sets]
    np.testing.assert_allclose(few.random, by_set, rtol=1e-4)
    assert few.numbers["difference"] == pytest.approx(expected.mean() - np.mean(by_set), rel=1e-3)
    assert few.numbers["p_rank"] == (1 + sum(np.array(by_set) >= expected.mean())) / 6
    assert not np.isin(few.sets, features).any()


def test_a_pooled_readout_is_read_by_row_and_a_readout_may_choose() -> None:
    inputs, features = Sentences(), [2, 3]
    pooled = Linear(False, pooled=True)
    change = [(removed(inputs, w, features, 0) @ pooled.after(0)).sum(1) for w in range(8)]
    expected = np.abs(np.reshape(change, (4, 4, K))).mean((1, 2))
    cut = ablate(pooled, inputs, CODER, features, 0)
    np.testing.assert_allclose(cut.blocks["effect"], expected, rtol=1e-4)
    one = ablate(pooled, inputs, CODER, features, 0, readout=lambda found: found[:, 1])
    by_row = np.abs(np.reshape(change, (4, 4, K))[..., 1]).mean(1)
    np.testing.assert_allclose(one.blocks["effect"], by_row, rtol=1e-4)


def test_scale_and_clamp_are_their_definitions() -> None:
    inputs, probed = Sentences(), Linear(True)
    cut = ablate(probed, inputs, CODER, [4], 0).effect().value
    assert scale(probed, inputs, CODER, [4], 0.0, 0).effect().value == pytest.approx(cut)
    assert scale(probed, inputs, CODER, [4], 1.0, 0).effect().value == 0
    assert scale(probed, inputs, CODER, [4], 3.0, 0).effect().value == pytest.approx(2 * cut)
    held = clamp(probed, inputs, CODER, [4], 0.7, 0)
    total, count = np.zeros(4), np.zeros(4)
    for w in range(8):
        delta = removed(inputs, w, [4], 0)
        delta[..., 2] += 0.7
        total[w // 2] += np.abs(delta @ probed.after(0))[inputs.mask(w)].sum()
        count[w // 2] += inputs.mask(w).sum() * K
    np.testing.assert_allclose(held.blocks["effect"], total / count, rtol=1e-4)


class Grid(Inputs):
    """Windows of four units, two a side: the target is the reference plus one vector."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        base = rng.normal(size=(8, 2, 6, D))
        self.shift = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
        self.x = np.concatenate([base, base + self.shift], axis=1).astype(np.float32)
        self.table = pd.DataFrame({"block": np.arange(8) // 2, "split": "test"})
        self.table.loc[:3, "split"] = "select"

    @property
    def tokens(self) -> Tokens:
        return Tokens.grid(self.table, 4, 6)

    def batch(self, number: int) -> dict[str, Tensor]:
        return {"x": torch.from_numpy(self.x[number])}

    def kept(self, number: int, hidden: Tensor) -> Tensor:
        return hidden.reshape(-1, hidden.shape[2])

    def design(self, strata: str = "abab") -> Design:
        return two_by_two(list("pqrs"), list(strata), ["old", "old", "new", "new"])


def learned(inputs: Grid, probed: Linear) -> Direction:
    return difference_of_means(harvest(probed, inputs, 0), inputs.design())


def test_the_difference_of_means_is_its_definition_without_test_windows() -> None:
    inputs = Grid()
    inputs.x[4:, 2:] += 50  # in windows that a verb reads, and must not be learned from
    found = learned(inputs, Linear(True))
    np.testing.assert_allclose(found.vector, inputs.shift, atol=2e-3)  # harvested as float16
    centered = inputs.x[:4] - inputs.x[:4].mean((0, 2), keepdims=True)
    expected = np.sqrt((centered**2).sum() / (4 * 4 * 6 - 4))
    assert found.spread == pytest.approx(expected, rel=1e-3)
    assert "mean over a, b" in str(found)


@pytest.mark.parametrize("resumes", [True, False])
def test_a_shift_of_the_whole_difference_closes_the_whole_gap(resumes: bool) -> None:
    inputs, probed = Grid(), Linear(resumes)
    toward = learned(inputs, probed)
    whole = float(np.linalg.norm(toward.vector)) / toward.spread
    for share, expected in ((1.0, 1.0), (0.5, 0.5), (2.0, 0.0), (0.0, 0.0)):
        found = steer(probed, inputs, toward, share * whole, draws=3)
        closed = found.gap_closed().closed
        assert closed.value == pytest.approx(expected, abs=3e-3)
        assert (closed.n, len(found.rows)) == (2, 8)
    vector = of_length(toward.vector, toward.spread) * 0.5 * whole
    remaining = [
        np.abs((drawn - inputs.shift) @ probed.after(0)).sum()
        for drawn in random_like(vector, 3, 1)
    ]
    gap = np.abs(inputs.shift @ probed.after(0)).sum()
    half = steer(probed, inputs, toward, 0.5 * whole, draws=3).gap_closed()
    assert half.random.value == pytest.approx(1 - np.mean(remaining) / gap, abs=3e-3)
    assert half.minus_random.value == pytest.approx(half.closed.value - half.random.value)


def test_only_rows_of_the_reference_are_steered_and_strata_are_told_apart() -> None:
    inputs, probed = Grid(), Linear(True)
    inputs.x[:, 3] += 4 * inputs.shift.astype(np.float32)  # of stratum b the gap is five times that
    toward = Direction("given", inputs.shift, 0, 1.0, inputs.design(), ("a",))
    table = steer(probed, inputs, toward, float(np.linalg.norm(inputs.shift))).table()
    assert table["stratum"].tolist() == ["a", "b", "all"]
    np.testing.assert_allclose(table["closed"], [1, 0.2, 2 / 6], atol=1e-4)
    assert table["rows"].tolist() == [4, 4, 8]
    assert (table["worse"] == 0).all()


def test_without_pairs_rows_are_held_against_the_mean_of_their_stratum() -> None:
    inputs, probed = Sentences(shift=2.0), Linear(False)
    design = inputs.design()
    toward = Direction("given", inputs.shift, 0, 1.0, design, ("all",))
    norm = float(np.linalg.norm(inputs.shift))
    found = steer(probed, inputs, toward, 0.5 * norm, draws=0)
    assert "no window holds rows of both conditions" in found.heading
    means = {
        (w, b): inputs.x[w][b, :length].mean(0) @ probed.after(0)
        for w, row in enumerate(inputs.lengths)
        for b, length in enumerate(row)
    }
    goal = np.mean([mean for (w, _), mean in means.items() if w % 2], axis=0)
    moved = 0.5 * inputs.shift @ probed.after(0)
    rows = [mean for (w, _), mean in means.items() if w % 2 == 0]
    gap = sum(np.abs(row - goal).sum() for row in rows)
    remaining = sum(np.abs(row + moved - goal).sum() for row in rows)
    assert found.gap_closed().closed.value == pytest.approx(1 - remaining / gap, abs=1e-4)
    assert np.isnan(found.gap_closed().random.value)
    with pytest.raises(
        UserError, match=r"design: gives no window with rows of both conditions.*steer"
    ):
        swap(probed, inputs, CODER, [0], 0, design)


def test_a_swap_carries_what_the_target_has() -> None:
    inputs, probed = Grid(), Linear(True)
    whole = swap(probed, inputs, CODER, None, 0, inputs.design())
    assert whole.gap_closed().closed.value == pytest.approx(1.0, abs=1e-5)
    part = swap(probed, inputs, CODER, [8, 9], 0, inputs.design(), draws=4).gap_closed()
    left = inputs.shift.copy()
    left[4] = 0
    expected = (
        1 - np.abs(left @ probed.after(0)).sum() / np.abs(inputs.shift @ probed.after(0)).sum()
    )
    assert part.closed.value == pytest.approx(expected, abs=1e-4)
    assert np.isfinite(part.random.value)


class Windows(Inputs):
    """The chromatin toy: one biosample a lineage and context, all of a window in one batch."""

    def __init__(self, windows: int = 6) -> None:
        rng = np.random.default_rng(4)
        self.sequence = torch.from_numpy(
            np.eye(4, dtype=np.float32)[rng.integers(0, 4, (windows, 4096))]
        )
        atac = rng.gamma(0.3, 1.0, (windows, 1, 1024, 1)) + np.arange(3).reshape(1, 3, 1, 1) * 0.2
        vivo = atac * rng.gamma(3, 0.6, (1, 1, 1024, 1)) + 0.5
        self.atac = torch.from_numpy(np.concatenate([atac, vivo], axis=1).astype(np.float32))
        self.table = pd.DataFrame({"block": np.arange(windows) // 2, "split": "test"})

    @property
    def tokens(self) -> Tokens:
        return Tokens.grid(self.table, 6, BINS)

    def batch(self, number: int) -> Batch:
        return Batch(
            self.sequence[number][None],
            self.atac[number],
            torch.from_numpy(np.full((6, 1, 5), 0.5, np.float32)),
        )

    def kept(self, number: int, hidden: Tensor) -> Tensor:
        return hidden[:, CROP : hidden.shape[1] - CROP].reshape(-1, hidden.shape[2])

    def design(self) -> Design:
        return two_by_two(list(range(6)), [*LINEAGES, *LINEAGES], ["old"] * 3 + ["new"] * 3)

    def pairs(self, probed: nn.Module) -> Pairs:
        """What the chromatin stages hold of the same rows, every bin read."""
        sides = []
        for side in (slice(0, 3), slice(3, 6)):
            batches = []
            for number in range(len(self.table)):
                sequence, atac, motif = self.batch(number)
                batches.append(Batch(sequence, atac[side], motif[side]))
            window = np.repeat(np.arange(len(self.table)), 3)
            names = np.array(LINEAGES * len(self.table))
            labels = RowLabels(window, window // 2, names, np.full(len(window), ""))
            read = np.ones((len(window), BINS), bool)
            sides.append(gather(probed, batches, 1, read, labels, CROP))
        return Pairs(*sides)

    def states(self, probed: nn.Module) -> Pairs:
        """All rows of all windows, as one."""
        window = np.repeat(np.arange(len(self.table)), 6)
        labels = RowLabels(window, window // 2, np.full(len(window), ""), np.full(len(window), ""))
        batches = [self.batch(number) for number in range(len(self.table))]
        read = np.ones((len(window), BINS), bool)
        return gather(probed, batches, 1, read, labels, CROP)


def test_ablation_gives_the_numbers_of_the_stages_experiment() -> None:
    inputs, probed = Windows(), model()
    states = inputs.states(probed)
    sae = autoencoder(states)
    ranking = np.array([3, 7, 11, 20, 5])
    experiment = compare_arms(
        probed,
        sae,
        states,
        ranking,
        AblationArms(ks=[5], random_sets=8, direction_draws=1, published_random=1),
        toward=states.prediction,
        components=np.eye(16),
    )
    theirs = against_random(experiment).set_index("arm").loc["cds"]
    cut = ablate(probed, inputs, sae, ranking, 1)
    mine = cut.against_random(8)
    alive = mine.numbers
    for name in ("value", "random", "difference", "low", "high", "p", "p_permutation", "p_rank"):
        assert alive[name] == pytest.approx(theirs[name], rel=1e-4), name
    for name in ("excess_low", "excess_high", "g_av", "g_av_low", "edit", "edit_random", "blocks"):
        assert alive[name] == pytest.approx(theirs[name], rel=1e-3), name


def test_steering_gives_the_numbers_of_the_stages_experiment() -> None:
    inputs, probed = Windows(), model()
    pairs, design = inputs.pairs(probed), inputs.design()
    hidden = Hidden(
        np.concatenate(
            [inputs.kept(w, probed.run(inputs.batch(w), (1,)).hidden[1]).detach() for w in range(6)]
        ),
        inputs.tokens,
        1,
    )
    groups = design
    means = unit_means(hidden.values, np.ones((6, 48)), hidden.tokens.unit, groups)
    sae = autoencoder(pairs.reference)
    plan = SteeringPlan(alphas=(0.2,), random_draws=3, published_random=1)
    table = compare_methods(
        probed, sae, tune=pairs, test=pairs, means=means, selected=np.arange(4), plan=plan
    ).table  # fmt: skip
    for stratum in LINEAGES:
        theirs = table.query(
            "stratum == @stratum and origin == 'own' and method == 'difference_of_means'"
        ).iloc[0]
        vector = means.difference(means.hidden, (stratum,))
        toward = Direction("difference of means", vector, 1, means.spread, design, (stratum,))
        mine = steer(probed, inputs, toward, 0.2, draws=3).table().set_index("stratum").loc[stratum]
        for name, other in (
            ("closed", "gc"),
            ("low", "gc_low"),
            ("random", "gc_random"),
            ("minus_random", "gc_minus_random"),
            ("minus_low", "gc_minus_random_low"),
            ("overshoot", "overshoot"),
            ("worse", "worse"),
        ):
            assert mine[name] == pytest.approx(theirs[other], abs=1e-5), (stratum, name)
    expected = gaps(swapped_features(probed, sae, pairs, np.arange(6)), pairs)
    found = swap(probed, inputs, sae, np.arange(6), 1, design, draws=0).gap_closed().closed
    assert found.value == pytest.approx(gap_closure(expected.remaining, expected.gap), abs=1e-5)


def test_verbs_elsewhere_are_those_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, probed = Windows(), model()
    sae = autoencoder(inputs.states(probed))
    grid, linear = Grid(), Linear(False)
    toward = learned(grid, linear)

    def numbers(coder: object) -> list[float]:
        cut = ablate(probed, inputs, coder, [3, 7, 11], 1)
        held = clamp(probed, inputs, coder, [3], 0.4, 1)
        steered = steer(linear, grid, toward, 0.3, draws=2).gap_closed()
        swapped = swap(probed, inputs, coder, [3, 7], 1, inputs.design(), draws=2).gap_closed()
        return [
            cut.effect().value,
            cut.against_random(3).numbers["random"],
            held.effect().value,
            *(part.value for found in (steered, swapped) for part in (found.closed, found.random)),
        ]

    expected = numbers(sae)
    off_the_host(monkeypatch)
    fresh = sae.to("cpu")
    with Elsewhere() as device:
        found = numbers(fresh)
    assert device.used > 0
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_results_print_as_tables_and_draw() -> None:
    inputs, probed = Grid(), Linear(True)
    cut = ablate(probed, inputs, CODER, [0, 1], 0)
    steered = steer(probed, inputs, learned(inputs, probed), 0.2, draws=2)
    for result in (cut, cut.against_random(2), steered, steered.gap_closed()):
        text, columns = str(result), result._shown().columns
        assert set(columns) <= set(result.table().columns)
        assert all(name in text for name in columns)
        assert repr(result) == text
        assert result._repr_html_().count("<th>") == len(columns)
        assert len(result.plot().axes) == 1
    assert "2 features after layer 0" in str(cut)
    assert "over 2 blocks" in str(cut.effect())


def bad(change: Callable[[], object], match: str) -> None:
    with pytest.raises(UserError, match=match):
        change()


def test_bad_input_is_one_line_that_says_what_to_do() -> None:
    inputs, probed = Grid(), Linear(True)
    toward = learned(inputs, probed)
    bad(lambda: ablate(probed, inputs, CODER, [10], 0), r"features: names 10, of 10.*0 to 9")
    bad(lambda: ablate(probed, inputs, CODER, [], 0), r"features: is empty")
    bad(lambda: ablate(probed, inputs, CODER, [0], 2), r"layer 2 does not exist")
    bad(lambda: ablate(probed, inputs, CODER, [0], 0, windows=[8]), r"windows: names window 8")
    far = SignedBasis(torch.eye(D)[:1], torch.full((D,), 1e6))
    bad(lambda: ablate(probed, inputs, far, [0], 0), r"none of them fires")
    bad(
        lambda: ablate(probed, inputs, CODER, [0], 0, readout=lambda found: found.sum()),
        r"readout: gives shape \(\) for 4 rows",
    )
    narrow = Direction("given", np.ones(3), 0, 1.0, inputs.design(), ("a",))
    bad(lambda: steer(probed, inputs, narrow, 1.0), r"direction: is 3 wide, the stream 5")
    one_sided = inputs.design("aabb")
    hidden = harvest(probed, inputs, 0)
    bad(
        lambda: difference_of_means(hidden, one_sided), r"design: has no stratum with units of both"
    )
    short = two_by_two(["p", "q"], ["a", "a"], ["old", "new"])
    bad(
        lambda: difference_of_means(hidden, short),
        r"2 units are described but the tokens hold 4",
    )
    toward_one_side = Direction("given", toward.vector, 0, 1.0, one_sided, ("a",))
    bad(lambda: steer(probed, inputs, toward_one_side, 1.0), r"no stratum with rows of both")
    inputs.kept = lambda number, hidden: hidden.flip(0).reshape(-1, hidden.shape[2])  # type: ignore[method-assign]
    bad(lambda: ablate(probed, inputs, CODER, [0], 0), r"Grid.kept: does not give window 4 its 24")
