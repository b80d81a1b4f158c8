"""Pictures of the terminal UI as SVG, from any workspace: `python docs/screenshots.py WORKSPACE
[FOLDER]`.

The same function draws the snapshots that the tests compare.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from pathlib import Path

from textual.widgets import Input

from petriscope.atlas.schema import feature_name
from petriscope_tui.app import PetriscopeApp
from petriscope_tui.glyphs import UNICODE

PAGES = (
    "overview",
    "features",
    "feature",
    "compare",
    "layers",
    "causal",
    "pipeline",
    "figures",
    "search",
    "controls",
)


async def draw(
    workspace: Path, pages: tuple[str, ...] = PAGES, size: tuple[int, int] = (120, 44)
) -> dict[str, str]:
    """SVG text per page, each in the state a reader should see."""
    pictures = {}
    app = PetriscopeApp(workspace, glyphs=UNICODE)
    async with app.run_test(size=size) as pilot:
        atlas = app.atlas
        best = atlas.order("is:context is:annotated", "cds", descending=True) if atlas else []
        for page in pages:
            if page == "compare" and len(best) > 1:
                app.compared = (best[0], best[1])
            if page == "feature" and best:
                app.current_feature = best[0]
            app.action_visit(page)
            await pilot.pause()
            if page == "features":
                app.screen.set_filter("is:context is:annotated")  # type: ignore[attr-defined]
                app.screen.sort_by("cds")  # type: ignore[attr-defined]
            if page == "search":
                line = app.screen.query_one(Input)
                line.cursor_blink = False
                line.value = "GATA"
            await pilot.pause(0.2)
            for _ in range(600):  # large outputs are hashed the first time
                if page != "pipeline" or app.screen.checked:  # type: ignore[attr-defined]
                    break
                await pilot.pause(0.1)
            app.clear_notifications()
            await pilot.pause()
            name = (
                feature_name(app.current_feature)
                if page == "feature" and app.current_feature
                else page
            )
            pictures[page] = app.export_screenshot(title=f"Petriscope: {name}", simplify=True)
    return pictures


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workspace", type=Path)
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(__file__).with_name("screenshots")
    )
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as config:
        os.environ["XDG_CONFIG_HOME"] = config
        os.environ["HOME"] = str(
            args.workspace.absolute().parent
        )  # the path on the picture becomes ~/NAME
        for page, picture in asyncio.run(draw(args.workspace)).items():
            (args.folder / f"{page}.svg").write_text(picture)
            print(args.folder / f"{page}.svg")


if __name__ == "__main__":
    main()
