"""Pictures are shown in a terminal through its graphics protocol where it has one, else as two
pixels a character cell."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from petriscope_tui.glyphs import Glyphs

RAMP = " .:-=+*#%@"
CELL_ASPECT = 2.0


def graphics_protocol(environment: Mapping[str, str] | None = None) -> str | None:
    """``kitty`` or ``sixel`` where the terminal is known for it; PETRISCOPE_GRAPHICS overrides
    (off, kitty, sixel)."""
    environment = os.environ if environment is None else environment
    wish = environment.get("PETRISCOPE_GRAPHICS")
    if wish:
        return wish if wish in ("kitty", "sixel") else None
    if environment.get("TMUX") or environment.get("STY") or environment.get("TEXTUAL_DRIVER"):
        return None
    if (
        environment.get("KITTY_WINDOW_ID")
        or environment.get("TERM") == "xterm-kitty"
        or environment.get("TERM_PROGRAM") == "ghostty"
    ):
        return "kitty"
    if (
        environment.get("TERM", "").startswith(("foot", "mlterm", "contour"))
        or environment.get("TERM_PROGRAM") == "WezTerm"
    ):
        return "sixel"
    return None


def graphics_widget() -> Callable[[str], Any] | None:
    """A widget class that draws a picture file, if terminal and the extra ``graphics``
    (textual-image) allow."""
    protocol = graphics_protocol()
    if protocol is None:
        return None
    try:
        from textual_image.widget import SixelImage, TGPImage
    except ImportError:
        return None
    return TGPImage if protocol == "kitty" else SixelImage


def block_art(path: Path, width: int, height: int, glyphs: Glyphs) -> Text:
    """The picture in at most ``width`` x ``height`` cells. Raises OSError where it is no
    picture."""
    from PIL import Image

    with Image.open(path) as source:
        picture = source.convert("RGBA")
    ground = Image.new("RGBA", picture.size, "white")
    ground.alpha_composite(picture)
    picture = ground.convert("RGB")
    scale = min(width / picture.width, height * CELL_ASPECT / picture.height)
    columns = max(round(picture.width * scale), 1)
    rows = max(round(picture.height * scale / CELL_ASPECT), 1)
    text = Text(no_wrap=True)
    if not glyphs.unicode:
        gray = picture.convert("L").resize((columns, rows), Image.Resampling.LANCZOS)
        shades = gray.tobytes()
        for y in range(rows):
            text.append(
                "".join(
                    RAMP[(255 - v) * len(RAMP) // 256]
                    for v in shades[y * columns : (y + 1) * columns]
                )
                + "\n"
            )
        return text
    pixels = picture.resize((columns, rows * 2), Image.Resampling.LANCZOS).tobytes()
    stride = columns * 3
    for y in range(rows):
        for x in range(columns):
            top = pixels[2 * y * stride + 3 * x :][:3]
            low = pixels[(2 * y + 1) * stride + 3 * x :][:3]
            text.append("▀", style=f"#{top.hex()} on #{low.hex()}")
        text.append("\n")
    return text
