"""Pictures of every page of a web atlas, light and dark: `python docs/web_screenshots.py FOLDER OUT
[--light] [--screen] [--pages overview feature ...]`.

FOLDER is what `petriscope atlas export` wrote. What the pages show is chosen from it: the feature
with the least q, the term and the gene that most features share. Needs the extra `web-test` and
Chromium.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import sync_playwright

from petriscope.atlas.schema import feature_name
from petriscope.web.serve import server

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
WIDTH, HEIGHT = 1280, 860


def read(folder: Path, name: str) -> Any:
    """The JSON of a chunk, which may lie in several files."""
    packed, more = b"", 0
    for part in itertools.count():
        if part > more:
            return json.loads(gzip.decompress(packed))
        file = f"{name}~p{part}.js" if part else f"{name}.js"
        _, _, _, text, rest = (folder / "data" / file).read_text(encoding="ascii").split('"')
        packed += base64.b64decode(text)
        if not part:
            more = int(rest.strip(",)\n") or 0)


def addresses(folder: Path) -> dict[str, str]:
    """An address for every page of the atlas."""
    home = read(folder, "home")
    best = best_feature(folder, home)
    name = feature_name(best["id"])
    pages = {
        "overview": "#/",
        "layers": "#/layers",
        "layer": f"#/layer/{best['id'] // 1_000_000}",
        "features": "#/features?s=cds&d=1",
        "feature": f"#/feature/{name}",
        "map": "#/map",
        "modules": "#/modules",
        "flow": "#/flow",
        "graph": "#/graph",
        "compare": "#/compare",
        "causal": "#/causal",
        "controls": "#/controls",
        "crispr": "#/crispr",
        "about": "#/about",
    }
    if home["modules"]:
        _, layer, _ = home["modules"][-1]
        pages["module"] = f"#/module/{layer}/0"
    if best["similar"]:
        pages["compare-features"] = f"#/compare?a={name}&b={feature_name(best['similar'][0])}"
    if len(home["layers"]) > 1:
        one, other = (layer["layer"] for layer in home["layers"][-2:])
        pages["flow-pair"] = f"#/flow?a={one}&b={other}"
    if "terms" in home["has"]:
        terms = read(folder, "terms")
        most = max(range(len(terms["name"])), key=lambda i: terms["features"][i] or 0)
        pages["term"] = f"#/term/{quote(terms['kind'][most] + ':' + terms['name'][most], safe=':')}"
    if "genes" in home["has"]:
        genes = read(folder, "genes")
        most = max(range(len(genes["name"])), key=lambda i: genes["features"][i] or 0)
        pages["gene"] = f"#/gene/{quote(genes['name'][most], safe='')}"
    if best["places"]:
        c = best["places"][0]
        pages["region"] = (
            f"#/region/{c['chrom']}:{max(c['start'] - 50_000, 0) + 1}-{c['end'] + 50_000}"
        )
    return pages


def best_feature(folder: Path, home: dict[str, Any]) -> dict[str, Any]:
    """The feature with most kinds of evidence among the first of each pack, least q first: its
    identifier, the first feature that is like it, and where it fires first."""
    found: list[dict[str, Any]] = []
    packs = -(-home["total"] // home["pack"])
    for number in range(0, packs, max(1, packs // 8)):
        pack = read(folder, f"f/{number}")
        for place, identifier in enumerate(pack["id"]):
            first = {name: _rows(table, place) for name, table in pack["tables"].items()}
            evidence = [len(rows) if name == "annotations" else bool(rows)
                        for name, rows in first.items()]  # fmt: skip
            q = pack["values"].get("q", [None])[place if "q" in pack["values"] else 0]
            found.append(
                {
                    "id": identifier,
                    "weight": (sum(evidence), -(1.0 if q is None else q)),
                    "similar": [row["id"] for row in first.get("neighbors", [])],
                    "places": [c for c in first.get("contexts", []) if c["chrom"] is not None],
                }
            )
    return max(found, key=lambda one: one["weight"])


def _rows(table: dict[str, Any], place: int) -> list[dict[str, Any]]:
    """The rows of a feature in a table of its pack; columns that hold columns are left out."""
    first, last = ([0, *table["ends"]])[place : place + 2]
    columns = {n: c for n, c in table.items() if isinstance(c, list) and n != "ends"}
    return [{n: c[i] for n, c in columns.items()} for i in range(first, last)]


def pictures(
    folder: Path, wanted: list[str] | None, themes: tuple[str, ...], whole: bool
) -> Iterator[tuple[str, str, bytes]]:
    """Name, theme and PNG of each page."""
    serving = server(folder)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    root = f"http://127.0.0.1:{serving.server_port}/index.html"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for theme in themes:
            context = chromium.new_context(
                viewport={"width": WIDTH, "height": HEIGHT},
                color_scheme="dark" if theme == "dark" else "light",
                reduced_motion="reduce",
            )
            page = context.new_page()
            for name, address in addresses(folder).items():
                if wanted and name not in wanted:
                    continue
                page.goto("about:blank")
                page.goto(root + address)
                page.locator("main h1, main .error").first.wait_for()
                page.locator(".wait").first.wait_for(state="detached")
                yield name, theme, page.screenshot(full_page=whole)
            context.close()
        chromium.close()
    serving.shutdown()


def smaller(png: bytes) -> bytes:
    """The picture in 128 colors: a third of the bytes, and no difference to the eye."""
    out = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(128, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


def main() -> None:
    """Write OUT/PAGE-THEME.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pages", nargs="+", help="these alone")
    parser.add_argument("--light", action="store_true", help="the light theme alone")
    parser.add_argument("--screen", action="store_true", help="what a window shows, not all of it")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    themes = ("light",) if args.light else ("light", "dark")
    for name, theme, png in pictures(args.folder, args.pages, themes, not args.screen):
        file = args.out / (f"{name}.png" if args.light else f"{name}-{theme}.png")
        file.write_bytes(smaller(png))
        print(file, f"{file.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
