"""The web atlas in Firefox, over http and from the disk: the pages that differ most in what they
ask of a browser (chunks, columns, drawings) show the atlas's numbers, and the console is quiet."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from web_firefox import firefox, needs_firefox
from web_pilot import FEATURE
from web_reader import value

from petriscope.atlas.query import Atlas

FILTER = "is:context q<.01"


@pytest.mark.parametrize("way", ["http", "file"])
def test_firefox_shows_the_atlas(
    way: str, site: str, workspace: Path, atlas: Atlas, tmp_path: Path
) -> None:
    needs_firefox()
    root = site if way == "http" else (workspace / "web").as_uri() + "/"
    count = len(list(atlas.order(FILTER)))
    assert 0 < count < atlas.total
    node = value(workspace / "web", "graph/kg")["name"][0]
    asks = {
        "#/": ("main .ledger li", f"{atlas.total:,}"),
        "#/features?f=is:context%20q%3C.01": (
            "main [role=grid] td",
            f"{count:,} of {atlas.total:,} features",
        ),
        f"#/feature/{FEATURE}": ("main figure svg text", FEATURE),
        f"#/graph?n={node}": ("main figure svg g.nodelink path", node),
        "#/map": ("main figure svg image", "Position is no evidence"),
    }

    async def look() -> tuple[dict[str, str], list[str]]:
        async with firefox(tmp_path / "profile") as one:
            pages = {
                address: await one.open(f"{root}index.html{address}", there)
                for address, (there, _) in asks.items()
            }
            return pages, one.said

    pages, said = asyncio.run(look())
    assert {a: words for a, (_, words) in asks.items() if words not in pages[a]} == {}
    assert said == []


def test_firefox_tells_what_its_console_said(site: str, tmp_path: Path) -> None:
    """The quiet above is that of the page: an error is heard."""
    needs_firefox()

    async def look() -> list[str]:
        async with firefox(tmp_path / "profile") as one:
            await one.open(f"{site}index.html#/", "main .ledger li")
            await one.ask(
                "script.evaluate",
                expression="console.error('planted')",
                target={"context": one.context},
                awaitPromise=False,
            )
            await one.ask("session.status")
            return one.said

    assert asyncio.run(look()) == ["error: planted"]
