"""`petriscope cost` against the worked table of the design, computed by hand on the right-hand
sides."""

from __future__ import annotations

import pytest

from petriscope.cli import main
from petriscope.run.cost import Scale, amount, choose, hours, rows

GENEFORMER = Scale(tokens=4.06e6, layers=18, width=1152, latents=4608, train_tokens=5e6, cores=8)
"""A layer: 4.06 M tokens harvested, five passes over 1 M trained on."""
BILLION = Scale(tokens=1e9, layers=18, width=1152, latents=4608, seeds=5, gpus=1)


def test_the_geneformer_paper() -> None:
    # 4.06e6 tokens x 1152 numbers x 2 bytes x 18 layers
    assert GENEFORMER.stored_bytes == pytest.approx(168.4e9, rel=1e-3)
    # the authors' float32
    assert Scale(4.06e6, 18, 1152, 4608, number_bytes=4).stored_bytes == pytest.approx(
        336.8e9, rel=1e-3
    )
    # 18 layers x 5e6 tokens / 2800 tokens a second / 3600
    assert GENEFORMER.sae_core_hours == pytest.approx(8.93, abs=0.01)
    # 4.06e6 x (2 x 293e6 + 4 x 18 x 2048 x 1152) = 4.06e6 x 755.9e6 = 3.07e15, at 62 TFLOP/s
    assert GENEFORMER.harvest_gpu_hours * 3600 == pytest.approx(49.5, abs=0.1)
    assert GENEFORMER.write_seconds == pytest.approx(56.1, abs=0.1)
    # 18 dictionaries on 8 cores are three rounds of 1785.7 s
    assert GENEFORMER.hours_here == pytest.approx((3 * 1785.7 + 49.5) / 3600, rel=1e-3)
    five = Scale(4.06e6, 18, 1152, 4608, seeds=5, train_tokens=5e6, cores=32)
    assert five.sae_core_hours == pytest.approx(44.64, abs=0.01)
    assert five.hours_here == pytest.approx(1.5, abs=0.1)  # three rounds on 32 cores
    choice = choose(GENEFORMER)
    assert (choice.source, choice.executor) == ("store", "local")


def test_a_billion_tokens() -> None:
    assert BILLION.stored_bytes == pytest.approx(41.47e12, rel=1e-3)
    # 1e9 x 755.9e6
    assert BILLION.harvest_flop == pytest.approx(7.56e17, rel=1e-3)
    assert BILLION.harvest_gpu_hours == pytest.approx(3.39, abs=0.01)
    assert BILLION.write_seconds / 3600 == pytest.approx(3.84, abs=0.01)
    # 90 dictionaries x 1e9 tokens / 2800 / 3600; 6 x 1152 x 4608 x 90e9 FLOP
    assert BILLION.sae_core_hours == pytest.approx(8929, abs=1)
    assert BILLION.sae_flop == pytest.approx(2.867e18, rel=1e-3)
    assert BILLION.sae_gpu_hours == pytest.approx(12.8, abs=0.1)
    assert BILLION.device_bytes == pytest.approx(15.3e9, rel=1e-2)
    # (3.39 + 12.84) h x $2; 41,472 GB x $0.023
    assert BILLION.streamed_price == pytest.approx(32.5, abs=0.1)
    assert BILLION.month_price == pytest.approx(953.9, abs=0.1)
    assert BILLION.recompute_microseconds == pytest.approx(12.2, abs=0.1)
    assert BILLION.write_microseconds == pytest.approx(13.8, abs=0.1)
    assert (choose(BILLION).source, choose(BILLION).executor) == ("stream", "local")  # 16 h, a GPU
    on_cores = Scale(1e9, 18, 1152, 4608, seeds=5, cores=32)
    assert choose(on_cores).executor == "slurm"
    assert any("a dictionary trains on one core" in reason for reason in choose(on_cores).reasons)


def test_a_smaller_dictionary_is_as_much_faster() -> None:
    half = Scale(1e6, 1, 1152, 2304)
    whole = Scale(1e6, 1, 1152, 4608)
    assert half.sae_core_hours == pytest.approx(whole.sae_core_hours / 2)
    assert dict((row[0], row[1]) for row in rows(whole))["dictionaries in device memory"] == (
        "170 MB"
    )


def test_words_of_sizes() -> None:
    assert [amount(size) for size in (41.5e12, 168.4e9, 2e6, 900)] == [
        "41.5 TB",
        "168 GB",
        "2 MB",
        "900 bytes",
    ]
    assert [hours(value) for value in (8900.4, 1.5, 0.5, 0.001)] == [
        "8,900 h",
        "1.5 h",
        "30 min",
        "3.6 s",
    ]


def test_the_command_prints_numbers_assumptions_and_choice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sizes = {"tokens": "1e9", "layers": "18", "width": "1152", "latents": "4608"}
    asked = ["cost", *(f"--{name}={size}" for name, size in sizes.items())]
    asked += ["--seeds", "5", "--gpus", "1"]
    assert main(asked) == 0
    text = capsys.readouterr().out
    for part in ("41.5 TB", "N d b L", "$32.", "a month", "R = 62 TFLOP/s", "assumed"):
        assert part in text, text
    assert "sae.source stream, executor local" in text
    assert main([*asked, "--gpu-price", "4"]) == 0
    assert "$64." in capsys.readouterr().out
    assert main([*asked, "--disk", "0"]) == 2
    assert "--disk: is 0" in capsys.readouterr().err
