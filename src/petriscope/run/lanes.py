"""A graph drawn line by line, one node a line, edges as lanes (as version-control histories are
drawn)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def draw_lanes(needs: Mapping[str, Sequence[str]], node: str = "●") -> dict[str, str]:
    """One line of drawing per name of ``needs`` (given in an order in which each comes after what
    it needs)."""
    needs = reduced(needs)
    last = {source: name for name, sources in needs.items() for source in sources}
    lanes: list[str | None] = []
    rows: dict[str, list[str]] = {}
    for name, sources in needs.items():
        wanted = [i for i, lane in enumerate(lanes) if lane in sources]
        ending = [i for i in wanted if last[str(lanes[i])] == name]
        free = ending or [i for i, lane in enumerate(lanes) if lane is None]
        column = free[0] if free else len(lanes)
        if column == len(lanes):
            lanes.append(None)
        low, high = min([*wanted, column]), max([*wanted, column])
        cells = []
        for i, lane in enumerate(lanes):
            crossed = low < i < high
            if i == column:
                mark = node
            elif i in wanted:
                mark = _join(i, low, high, ends=i in ending)
            elif lane is not None:
                mark = "│"
            else:
                mark = "─" if crossed else " "
            cells.append(mark + ("─" if low <= i < high else " "))
        rows[name] = cells
        for i in ending:
            lanes[i] = None
        lanes[column] = name if name in last else None
    width = max((len(cells) for cells in rows.values()), default=0)
    return {name: "".join(cells).ljust(2 * width) for name, cells in rows.items()}


def reduced(needs: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """``needs`` without the edges that a longer path already implies."""
    above: dict[str, set[str]] = {}
    for name, sources in needs.items():
        above[name] = set(sources).union(*(above[s] for s in sources))
    return {
        n: [s for s in sources if not any(s in above[o] for o in sources)]
        for n, sources in needs.items()
    }


def _join(place: int, low: int, high: int, ends: bool) -> str:
    if low < place < high:
        return "┴" if ends else "┼"
    if place == low:
        return "└" if ends else "├"
    return "┘" if ends else "┤"
