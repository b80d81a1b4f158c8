"""Reference: values worked by hand; drawings are pure functions of values, width and height."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from petriscope.atlas.records import Feature
from petriscope.atlas.show import axis, interval, number, probability, share, show
from petriscope.run.graph import draw_lanes, reduced
from petriscope_tui.delimited import aligned
from petriscope_tui.evidence import single
from petriscope_tui.glyphs import ASCII, UNICODE, to_ascii, wants_ascii
from petriscope_tui.picture import block_art, graphics_protocol
from petriscope_tui.plots import Series, bar, columns, line_plot, span, spark
from petriscope_tui.stage_view import duration
from petriscope_tui.theme import DARK


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, "p", "·"),
        (float("nan"), "number", "·"),
        (12345, "count", "12,345"),
        (0.0, "share", "0 %"),
        (0.123, "share", "12.3 %"),
        (0.0012, "share", "0.12 %"),
        (0.000028, "share", "0.0028 %"),
        (3e-8, "share", "3e-6 %"),
        (0.034, "p", "0.034"),
        (3.14e-8, "p", "3.1e-8"),
        (0.0, "p", "<1e-300"),
        (-1.966, "signed", "-1.97"),
        (2.5, "signed", "+2.50"),
        (123456.0, "number", "1.2e5"),
        (0.1234, "number", "0.123"),
        (1, "flag", "yes"),
        ("x", "text", "x"),
    ],
)
def test_values_in_sensible_digits(value: object, form: str, text: str) -> None:
    assert show(value, form) == text
    if form == "share":
        assert f"{show(value, 'percent')} %" == text


def test_small_forms() -> None:
    assert interval(0.1, None) == "·" and interval(-0.5, 0.25, "signed") == "[-0.50, +0.25]"
    assert [duration(x) for x in (None, 0.61, 42, 200, 7500)] == [
        "·",
        "0.6 s",
        "42 s",
        "3 min 20 s",
        "2 h 05 min",
    ]
    assert (
        axis(8.0) == "8" and axis(0.125) == "0.125" and number(0) == "0" and share(1) == "100.0 %"
    )
    assert probability(1.0) == "1.000"


def test_bars_are_exact_to_an_eighth() -> None:
    assert (
        bar(0.5, 4, UNICODE) == "██  "
        and bar(0.53125, 4, UNICODE) == "██▏ "
        and bar(0.5, 4, ASCII) == "##  "
    )
    assert bar(7, 2, UNICODE) == "██" and bar(-1, 2, UNICODE) == "  "
    assert (
        spark([0, 1, 1000], UNICODE, log=False) == " ▁█"
        and spark([], UNICODE) == ""
        and spark([0, 0], ASCII) == "  "
    )
    assert columns([1, 2], 2, UNICODE) == [" █", "██"]


def test_interval_on_a_line() -> None:
    assert span(-1.0, 0.5, 1.0, -1.0, 1.0, 9, UNICODE) == "──────●──"
    assert span(None, 1.0, None, -1.0, 1.0, 5, UNICODE) == "  │ ●"
    assert span(0.5, None, None, 0.0, 1.0, 3, ASCII) == "|  "


def test_line_plot_has_the_size_asked_for_and_marks_points() -> None:
    one = Series("first", [(0, 0), (10, 5)], "red", "a", [(-1, 1), None])
    text = line_plot([one], 40, 12, UNICODE, "dim", "x", "y").plain
    lines = text.split("\n")
    assert len(lines) == 12 and max(len(line) for line in lines) <= 40
    assert (
        text.count("a") == 3
        and "first" in lines[-1]
        and lines[0] == "y"
        and lines[-2].rstrip().endswith("10")
    )
    assert line_plot([one], 40, 12, ASCII, "dim").plain.isascii()
    assert line_plot([], 40, 12, UNICODE, "dim").plain == "no data"


@settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow]
)  # a busy machine is no failure
@given(
    st.lists(st.tuples(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9)), max_size=6),
    st.integers(5, 150),
    st.integers(1, 40),
)
def test_line_plot_takes_any_points(
    points: list[tuple[float, float]], width: int, height: int
) -> None:
    text = line_plot(
        [Series("s", points, "red", "m", [(y, y) for _, y in points])],
        width,
        height,
        UNICODE,
        "dim",
    ).plain
    assert (text == "no data") == (not points)


def test_graph_as_lanes() -> None:
    needs = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["a", "d"]}
    assert reduced(needs) == {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": ["d"]}
    assert [row.rstrip() for row in draw_lanes(needs).values()] == ["●", "├─●", "● │", "●─┘", "●"]
    crossing = draw_lanes({"a": [], "b": [], "c": [], "d": ["a", "c"], "e": ["b"]})
    assert [row.rstrip() for row in crossing.values()] == ["●", "│ ●", "│ │ ●", "●─│─┘", "  ●"]
    assert draw_lanes({}) == {}


def test_ascii_has_one_cell_per_character() -> None:
    text = "╭─ 1 → ✓ ▁▂█ é ⣿ 中"
    assert to_ascii(text).isascii() and len(to_ascii(text)) == len(text)
    assert to_ascii("plain") == "plain" and to_ascii("│●─┼") == "|o-+"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"LANG": "en_US.UTF-8"}, False),
        ({"LANG": "en_US.utf8"}, False),
        ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, True),
        ({"LC_CTYPE": "de_DE.ISO-8859-1"}, True),
        ({"TERM": "linux"}, True),
        ({"LC_ALL": "C", "PETRISCOPE_ASCII": "0"}, False),
        ({"PETRISCOPE_ASCII": "1"}, True),
    ],
)
def test_locale_decides_the_alphabet(environment: dict[str, str], expected: bool) -> None:
    assert wants_ascii(environment) is expected


def test_block_art_keeps_colors_and_proportions(tmp_path: Path) -> None:
    picture = Image.new("RGB", (40, 20), "red")
    picture.paste((0, 0, 255), (0, 10, 40, 20))
    picture.save(tmp_path / "p.png")
    text = block_art(tmp_path / "p.png", 20, 30, UNICODE)
    lines = text.plain.rstrip("\n").split("\n")
    assert [len(line) for line in lines] == [20] * 5
    assert {str(s.style) for s in text.spans[:20]} == {"#ff0000 on #ff0000"}
    assert {str(s.style) for s in text.spans[-20:]} == {"#0000ff on #0000ff"}
    assert block_art(tmp_path / "p.png", 20, 30, ASCII).plain.isascii()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match="cannot identify"):
        block_art(tmp_path / "broken.png", 20, 30, UNICODE)


def test_graphics_only_where_known() -> None:
    assert (
        graphics_protocol({"TERM": "xterm-kitty"}) == "kitty"
        and graphics_protocol({"TERM": "foot"}) == "sixel"
    )
    assert (
        graphics_protocol({"TERM": "xterm-kitty", "TMUX": "x"}) is None
        and graphics_protocol({}) is None
    )
    assert graphics_protocol({"PETRISCOPE_GRAPHICS": "off", "TERM": "foot"}) is None
    assert graphics_protocol({"PETRISCOPE_GRAPHICS": "kitty"}) == "kitty"


def test_a_wide_span_of_x_is_logarithmic_and_the_floor_cuts() -> None:
    points = [(1.0, 0.0), (10.0, 0.5), (100.0, 1.0)]
    lines = line_plot([Series("a", points, "", "A")], 42, 14, UNICODE, "", "alpha").plain.split(
        "\n"
    )
    marks = [line.index("A") for line in lines if "A" in line and "│" in line]
    assert (
        len(marks) == 3
        and abs(2 * marks[1] - marks[0] - marks[2]) <= 1
        and "(log scale)" in lines[-2]
    )
    near = line_plot(
        [Series("a", [(1.0, 0.0), (2.0, 0.5)], "", "A")], 42, 14, UNICODE, "", "alpha"
    ).plain
    assert "log scale" not in near
    fallen = [(1.0, 0.1), (2.0, -50.0)]
    cut = line_plot([Series("a", fallen, "", "A")], 42, 14, UNICODE, "", floor=-0.5).plain
    assert (
        "-0.5" in cut
        and "-50" not in cut
        and sum("A" in line for line in cut.split("\n") if "│" in line) == 1
    )


def test_delimited_text_is_aligned_shortened_and_cut_to_the_room() -> None:
    content = "name,value,long\na,0.123456789,x\nbb,10,y\n,,\n"
    lines = aligned(content, ",", "", "", 60).plain.split("\n")
    assert (
        lines[0] == "name  value  long"
        and lines[1] == "a     0.123  x"
        and lines[2] == "bb       10  y"
    )
    narrow = aligned("a,b,c\n" + ",".join(["word " * 9] * 3) + "\n", ",", "", "", 44).plain.split(
        "\n"
    )
    assert (
        all(len(line) <= 44 for line in narrow)
        and narrow[-1] == "further columns: c"
        and "…" in narrow[1]
    )
    assert aligned("a\n1\n2\n3\n", ",", "", "", 40, 2).plain.endswith("the first 2 of 3 rows")
    assert aligned("", ",", "", "", 40).plain == "empty"


def test_a_single_features_effect_stands_on_the_ruler_of_its_null() -> None:
    def shown(effect: float | None, percentile: float | None, width: int = 51) -> str:
        values = {"causal_effect": effect, "causal_percentile": percentile}
        return single(Feature(1, values, [], [], [], {}, [], []), 0.95, DARK, UNICODE, width).plain

    assert shown(None, None).startswith("not measured")
    lines = shown(0.0123, 0.5).split("\n")
    assert "0.0123" in lines[0] and "beats 50.0 % of random directions" in lines[1]
    assert (
        lines[2].index("●") == 10 + 20
        and lines[2].index("│") == 10 + 38
        and lines[3].endswith("95 %")
    )
    assert lines[3].index("95 %") <= lines[2].index("│") < lines[3].index("95 %") + 4
    assert "●" in shown(1.0, 1.0) and "not measured" in shown(1.0, None)
